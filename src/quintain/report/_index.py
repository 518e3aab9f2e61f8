"""What is registered and what is public here, as strings. Written by ``make format``."""

# fmt: off
# ruff: noqa

EXPORTS: dict[str, str] = {
    "ClaimChange": "quintain.results.comparison_records",
    "ClaimRow": "quintain.report.claim_rows",
    "VerdictCounts": "quintain.report.claim_rows",
    "all_rows": "quintain.report.claim_rows",
    "compare": "quintain.report.changes",
    "count_verdicts": "quintain.report.claim_rows",
    "key_rows": "quintain.report.claim_rows",
    "presentation_of": "quintain.report.registry",
    "read": "quintain.report.page",
    "render": "quintain.report.page",
    "summary_lines": "quintain.report.registry",
    "write": "quintain.report.page",
}
