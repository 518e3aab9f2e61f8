"""What is registered and what is public here, as strings. Written by ``make format``."""

# fmt: off
# ruff: noqa

EXPORTS: dict[str, str] = {
    "Basis": "quintain.results.quantity",
    "Bound": "quintain.results.bounds",
    "Bracket": "quintain.results.bounds",
    "ClassCounts": "quintain.results.class_counts",
    "ConfidenceLevels": "quintain.results.evidence",
    "Consistency": "quintain.results.bounds",
    "CountEvidence": "quintain.results.evidence",
    "ExampleState": "quintain.results.per_example",
    "PerExample": "quintain.results.per_example",
    "Quantity": "quintain.results.quantity",
    "Requirement": "quintain.results.requirements",
    "Side": "quintain.results.quantity",
    "Verdict": "quintain.results.verdict",
    "decide": "quintain.results.gate",
}
