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
from quintain.results.bounds import Status
from quintain.results.codec import decode, encode, load, save
from quintain.results.records import SCHEMA, Body, Record
from tests.results.strategies import records

GOLDEN = Path(__file__).parent / "golden"


@settings(max_examples=60, deadline=None)
@given(records())
def test_every_record_round_trips(record):
    assert decode(encode(record)) == record


@pytest.mark.parametrize("body", get_args(Body), ids=lambda body: body.__name__)
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_every_kind_of_body_round_trips(body, data):
    record = data.draw(records(body))
    assert decode(encode(record)) == record


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.name)
def test_a_released_schema_still_loads_and_is_written_the_same_but_for_fields_added_since(path):
    record = load(path)
    assert record.schema == SCHEMA
    assert kept(json.loads(path.read_bytes()), json.loads(encode(record)))
    assert decode(encode(record)) == record


def kept(old, new):
    """Whether all of an older JSON value is in a newer one."""
    if isinstance(old, dict):
        return isinstance(new, dict) and all(key in new and kept(value, new[key]) for key, value in old.items())
    if isinstance(old, list):
        return isinstance(new, list) and len(old) == len(new) and all(map(kept, old, new))
    return old == new


def test_the_golden_records_hold_what_they_did():
    claims = load(GOLDEN / "schema-1-certify.json").claims
    assert [claim.bracket.status for claim in claims] == [Status.CONSISTENT, Status.CONTRADICTION]
    audit = load(GOLDEN / "schema-1-audit.json")
    assert audit.body.plan.epsilon == math.inf
    assert audit.claims[0].bracket.upper.value == math.inf


def test_a_file_name_that_is_no_text_does_not_cost_the_record():
    record = load(GOLDEN / "schema-1-audit.json")
    odd = replace(record, notes=("caf\udce9.npz", "é"), provenance=replace(record.provenance, command="quintain --data caf\udce9.npz"))
    told = decode(encode(odd))
    assert told == replace(odd, notes=("caf?.npz", "é"), provenance=replace(record.provenance, command="quintain --data caf?.npz"))


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
    with pytest.raises(RunFolderError, match="schema 99; this version reads 1"):
        decode(whole.replace(b'"schema": 1', b'"schema": 99'))
    with pytest.raises(RunFolderError, match=r"provenance\.command"):
        decode(whole.replace(b'"command"', b'"comand"'))
    certified = (GOLDEN / "schema-1-certify.json").read_bytes()
    with pytest.raises(RunFolderError, match=r"body\.Certified\.robustness\.0\.certifier: Field required"):
        decode(certified.replace(b'"certifier"', b'"certifer"'))


@pytest.mark.parametrize(
    ("sound", "damaged", "told"),
    [
        (b'"hits": 2', b'"hits": 2000', "2000 of 4 examples"),
        (b'"value": 0.75', b'"value": 7', "a robust_accuracy of 7"),
        (b'"side": "lower"', b'"side": "upper"', "expected a lower and an upper bound"),
        (b'"failed": [\n      false,', b'"failed": [', "expected one length"),
    ],
)
def test_values_that_cannot_be_are_told_with_the_file(sound, damaged, told):
    whole = (GOLDEN / "schema-1-certify.json").read_bytes()
    assert sound in whole
    with pytest.raises(RunFolderError, match=f"result.json holds what cannot be: .*{told}.*run the step again"):
        decode(whole.replace(sound, damaged, 1), source="result.json")


def test_a_missing_file_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match="cannot read"):
        load(tmp_path / "none.json")


def test_a_contradiction_is_stored_and_loaded_without_raising(tmp_path):
    record = load(GOLDEN / "schema-1-certify.json")
    save(record, tmp_path / "result.json")
    assert load(tmp_path / "result.json").claims[1].bracket.status is Status.CONTRADICTION


def test_records_are_values():
    record = load(GOLDEN / "schema-1-audit.json")
    assert isinstance(hash(record), int)
    assert replace(record, notes=("x",)) != record
    assert isinstance(record, Record)
