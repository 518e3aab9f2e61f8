"""What is registered and what is public here, as strings. Written by ``make format``."""

# fmt: off
# ruff: noqa

EXPORTS: dict[str, str] = {
    "Property": "quintain.verify.properties",
    "PropertyVerdict": "quintain.verify.results",
    "Ruling": "quintain.verify.refereeing",
    "parse_property": "quintain.verify.parser",
    "read_property": "quintain.verify.parser",
    "referee": "quintain.verify.refereeing",
    "referee_folder": "quintain.verify.refereeing",
    "result_text": "quintain.verify.results",
    "verify_property": "quintain.verify.verifier",
}
