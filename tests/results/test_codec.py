"""Every record goes to JSON and comes back; a released schema still loads."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quintain.core.errors import RunFolderError, StorageError
from quintain.results.bounds import Consistency
from quintain.results.codec import decode, encode, load, save
from quintain.results.records import SCHEMA, Record, StepResult
from tests.results.support.strategies import records

GOLDEN = Path(__file__).parent / "golden"


@settings(max_examples=60, deadline=None)
@given(records())
def test_every_record_round_trips(record):
    assert decode(encode(record)) == record


@pytest.mark.parametrize("body", get_args(StepResult), ids=lambda body: body.__name__)
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_every_kind_of_body_round_trips(body, data):
    record = data.draw(records(body))
    assert decode(encode(record)) == record


@pytest.mark.parametrize("path", sorted(GOLDEN.glob(f"schema-{SCHEMA}-*.json")), ids=lambda path: path.name)
def test_this_schema_still_loads_and_is_written_the_same_but_for_fields_added_since(path):
    record = load(path)
    assert record.schema == SCHEMA
    assert kept(json.loads(path.read_bytes()), json.loads(encode(record)))
    assert decode(encode(record)) == record


def kept(old, new):
    """Whether all of an older JSON value is in a newer one."""
    if isinstance(old, dict):
        return isinstance(new, dict) and all(
            key in new and kept(value, new[key]) for key, value in old.items()
        )
    if isinstance(old, list):
        return isinstance(new, list) and len(old) == len(new) and all(map(kept, old, new))
    return old == new


def test_the_golden_records_hold_what_they_did():
    claims = load(GOLDEN / "schema-1-certify.json").claims
    assert [claim.bracket.consistency for claim in claims] == [
        Consistency.CONSISTENT,
        Consistency.CONTRADICTION,
    ]
    audit = load(GOLDEN / "schema-1-audit.json")
    assert audit.result.plan.epsilon == math.inf
    assert audit.claims[0].bracket.upper.value == math.inf


def test_a_file_name_that_is_no_text_does_not_cost_the_record():
    record = load(GOLDEN / "schema-1-audit.json")
    odd = replace(
        record,
        notes=("caf\udce9.npz", "é"),
        provenance=replace(record.provenance, command="quintain --data caf\udce9.npz"),
    )
    told = decode(encode(odd))
    assert told == replace(
        odd,
        notes=("caf?.npz", "é"),
        provenance=replace(record.provenance, command="quintain --data caf?.npz"),
    )


def test_a_half_written_file_is_named(tmp_path):
    path = tmp_path / "result.json"
    whole = (GOLDEN / "schema-1-audit.json").read_bytes()
    for cut in (0, 1, len(whole) // 2, len(whole) - 3):
        path.write_bytes(whole[:cut])
        with pytest.raises(RunFolderError, match=r"result\.json is no result file or is cut short"):
            load(path)


@pytest.mark.parametrize("data", [b"[]", b"1", b"null", b'"x"'])
def test_other_json_is_no_record(data):
    with pytest.raises(RunFolderError, match="no result file"):
        decode(data)


def test_a_newer_schema_and_a_missing_field_are_told_apart():
    whole = (GOLDEN / "schema-1-audit.json").read_bytes()
    with pytest.raises(
        RunFolderError,
        match=r"record is of schema 99; Quintain [\d.]+ reads schemas 1 to 2: use a newer Quintain",
    ):
        decode(whole.replace(b'"schema": 1', b'"schema": 99'))
    for schema in (b"0", b"-1", b"true", b'"1"', b"null", b"1.5", b"[1]"):
        with pytest.raises(RunFolderError, match=r"record has schema .*; expected a number from 1 to 2"):
            decode(whole.replace(b'"schema": 1', b'"schema": ' + schema))
    with pytest.raises(RunFolderError, match=r"provenance\.command: Field required"):
        decode(whole.replace(b'"command": "quintain audit",', b""))
    certified = (GOLDEN / "schema-1-certify.json").read_bytes()
    with pytest.raises(RunFolderError, match=r"result\.CertifyResult\.models\.0\.certifier: Field required"):
        decode(certified.replace(b'"certifier": "interval bounds",', b""))


@pytest.mark.parametrize(
    ("sound", "damaged", "told"),
    [
        (b'"hits": 2', b'"hits": 2000', "2000 of 4 examples"),
        (b'"value": 0.75', b'"value": 7', "a robust_accuracy of 7"),
        (b'"side": "lower"', b'"side": "upper"', "expected a lower and an upper bound"),
        (b'"failed": [\n      false,', b'"failed": [', "expected one entry per id"),
    ],
)
def test_values_that_cannot_be_are_told_with_the_file(sound, damaged, told):
    whole = (GOLDEN / "schema-1-certify.json").read_bytes()
    assert sound in whole
    with pytest.raises(
        RunFolderError, match=f"result.json holds what cannot be: .*{told}.*run the step again"
    ):
        decode(whole.replace(sound, damaged, 1), source="result.json")


def places(value, path=()):
    """Where each object of a document stands."""
    if isinstance(value, dict):
        yield path
    if isinstance(value, dict | list):
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(one, (*path, key))


@pytest.mark.parametrize("schema", [1, SCHEMA])
@pytest.mark.parametrize("kind", ["attack", "audit", "privatize", "drill"])
def test_an_unknown_key_is_refused_wherever_it_stands(schema, kind):
    whole = (GOLDEN / f"schema-{schema}-every-field-{kind}.json").read_bytes()
    every = list(places(json.loads(whole)))
    assert len(every) > 10
    for path in every:
        document = json.loads(whole)
        here = document
        for key in path:
            here = here[key]
        here["tempo"] = 1
        with pytest.raises(
            RunFolderError,
            match=r"r\.json holds what this Quintain does not know: \S*tempo is no known key; expected \w+",
        ):
            decode(json.dumps(document).encode(), source="r.json")


@pytest.mark.parametrize("name", ["body", "result"])
@pytest.mark.parametrize(("kind", "told"), [(None, "missing"), ("mend", "'mend'"), ([], r"\[\]")])
def test_a_result_of_an_unknown_kind_is_refused_and_its_values_are_not_dropped(name, kind, told):
    schema = 1 if name == "body" else SCHEMA
    document = json.loads((GOLDEN / f"schema-{schema}-certify.json").read_bytes())
    document[name]["kind"] = kind
    if kind is None:
        del document[name]["kind"]
    with pytest.raises(RunFolderError, match=rf"result\.kind is {told}; expected check, train"):
        decode(json.dumps(document).encode())


def test_evidence_of_an_unknown_kind_is_refused():
    whole = (GOLDEN / "schema-2-certify.json").read_bytes()
    with pytest.raises(
        RunFolderError,
        match=r"claims\.0\.bracket\.lower\.evidence\.kind is 'counts'; expected counted, levels",
    ):
        decode(whole.replace(b'"kind": "counted"', b'"kind": "counts"', 1))


def test_an_unknown_key_says_where_it_stands_what_is_known_there_and_what_to_do():
    whole = (GOLDEN / "schema-2-certify.json").read_bytes()
    with pytest.raises(RunFolderError) as caught:
        decode(whole.replace(b'"primary": true', b'"delivered": true', 1), source="result.json")
    assert str(caught.value) == (
        "result.json holds what this Quintain does not know: claims.0.delivered is no known key; expected "
        "name, title, model, bracket, primary, lower_counts, upper_counts; use the Quintain that wrote it, "
        "or delete it and run the step again"
    )


def test_a_missing_file_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match="cannot read"):
        load(tmp_path / "none.json")


def test_a_contradiction_is_stored_and_loaded_without_raising(tmp_path):
    record = load(GOLDEN / "schema-1-certify.json")
    save(record, tmp_path / "result.json")
    assert load(tmp_path / "result.json").claims[1].bracket.consistency is Consistency.CONTRADICTION


def test_records_are_values():
    record = load(GOLDEN / "schema-1-audit.json")
    assert isinstance(hash(record), int)
    assert replace(record, notes=("x",)) != record
    assert isinstance(record, Record)
