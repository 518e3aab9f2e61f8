"""The JSON Schema of records: what is shipped is what the types say, and every record is valid by it."""

import json
import math
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings

from quintain.results.bounds import Bound
from quintain.results.codec import encode, load
from quintain.results.json_schema import SCHEMA_FILE, schema_text
from quintain.results.quantity import Side
from quintain.results.records import SCHEMA, Record
from tests.results.support.strategies import records

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def shipped():
    schema = json.loads(SCHEMA_FILE.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return schema


@pytest.fixture(scope="module")
def validator(shipped):
    return jsonschema.Draft202012Validator(shipped)


def test_what_is_shipped_is_what_the_types_say():
    assert SCHEMA_FILE.read_text() == schema_text(), "run `make format`, or `python -m quintain.core.index`"


def test_it_has_a_dialect_and_a_name_at_the_top_alone(shipped):
    assert shipped["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert shipped["$id"] == f"urn:quintain:record:{SCHEMA}"
    assert not any({"$id", "$schema"} & set(one) for one in shipped["$defs"].values())


@pytest.mark.parametrize("path", sorted(GOLDEN.glob(f"schema-{SCHEMA}-*.json")), ids=lambda path: path.stem)
def test_golden_records_are_valid_as_they_are_and_as_they_are_written_now(validator, path):
    validator.validate(json.loads(path.read_bytes()))
    validator.validate(json.loads(encode(load(path))))


@given(record=records())
@settings(max_examples=25)
def test_records_of_any_shape_are_valid(record: Record):
    schema = json.loads(SCHEMA_FILE.read_text())
    jsonschema.Draft202012Validator(schema).validate(json.loads(encode(record)))


def test_infinity_is_valid_as_it_is_written_and_no_other_word_is(validator):
    record = load(GOLDEN / f"schema-{SCHEMA}-audit.json")
    claim = record.claims[0]
    nothing = Bound.trivial(claim.bracket.quantity, Side.UPPER)
    assert nothing.value == math.inf
    open_claim = replace(claim, bracket=replace(claim.bracket, upper=nothing))
    document = json.loads(encode(replace(record, claims=(open_claim,))))
    upper = document["claims"][0]["bracket"]["upper"]
    assert upper["value"] == "Infinity"
    validator.validate(document)
    upper["value"] = "a lot"
    assert not validator.is_valid(document)


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.update(schema=SCHEMA + 1),
        lambda document: document.pop("claims"),
        lambda document: document["result"].pop("kind"),
        lambda document: document["result"].update(kind="check"),
        lambda document: document["claims"][0]["bracket"]["lower"].update(basis="hearsay"),
    ],
)
def test_what_is_no_record_is_not_valid(validator, change):
    document = json.loads((GOLDEN / f"schema-{SCHEMA}-audit.json").read_bytes())
    change(document)
    assert not validator.is_valid(document)
