"""What is registered and what is public here, as strings. Written by ``make format``."""

# fmt: off
# ruff: noqa

EXPORTS: dict[str, str] = {
    "IntervalBounds": "quintain.certify.interval.certifier",
    "TracedNetwork": "quintain.certify.interval.graph",
    "worst_case_logits": "quintain.certify.interval.certifier",
}
