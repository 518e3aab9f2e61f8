"""The schemas of what is written for CI systems, and checks against them."""

import json
from functools import cache
from pathlib import Path

import jsonschema
import xmlschema

HERE = Path(__file__).parent


@cache
def _junit() -> xmlschema.XMLSchema:
    return xmlschema.XMLSchema(HERE / "junit-10.xsd")


@cache
def _sarif() -> jsonschema.Draft202012Validator:
    schema = json.loads((HERE / "sarif-2.1.0.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def check_junit(text: str) -> None:
    """Raise unless a text is valid by Jenkins' schema."""
    _junit().validate(text)


def check_sarif(text: str) -> None:
    """Raise unless a text is valid SARIF 2.1.0."""
    _sarif().validate(json.loads(text))
