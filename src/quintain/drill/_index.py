"""What is registered and what is public here, as strings. Written by ``make format``."""

# fmt: off
# ruff: noqa

EXPORTS: dict[str, str] = {
    "Settings": "quintain.drill.settings",
    "drill": "quintain.drill.pipeline",
}
