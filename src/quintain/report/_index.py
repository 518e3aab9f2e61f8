"""What is registered and what is public here, as strings. Written by ``make format``."""

# fmt: off
# ruff: noqa

EXPORTS: dict[str, str] = {
    "ClaimChange": "quintain.report.changes",
    "ClaimRow": "quintain.report.key_claims",
    "VerdictCounts": "quintain.report.key_claims",
    "all_rows": "quintain.report.key_claims",
    "compare": "quintain.report.changes",
    "count_verdicts": "quintain.report.key_claims",
    "key_rows": "quintain.report.key_claims",
    "presentation_of": "quintain.report.registry",
    "read": "quintain.report.page",
    "render": "quintain.report.page",
    "summary_lines": "quintain.report.registry",
    "write": "quintain.report.page",
}
