"""Records of schema 1 load with every value where it belongs.

The files ``schema-1-every-field-*`` were written by the last version of schema 1, each field with a value of
its own.
"""

import json
import re
from pathlib import Path

import pytest

from quintain.core.errors import RunFolderError
from quintain.results import upgrade
from quintain.results.codec import decode, encode, load
from quintain.results.records import SCHEMA

GOLDEN = Path(__file__).parent / "golden"
OLD = sorted(GOLDEN.glob("schema-1-*.json"))
TABLE = Path(__file__).parents[2] / "docs" / "renames.md"

by_name = pytest.mark.parametrize("path", OLD, ids=lambda path: path.name)


def leaves(value, path=()):
    """Each value of a document with the keys above it, in the document's order."""
    if isinstance(value, dict):
        return [leaf for key, one in value.items() for leaf in leaves(one, (*path, key))]
    if isinstance(value, list):
        return [leaf for place, one in enumerate(value) for leaf in leaves(one, (*path, place))]
    return [(path, value)]


ADDED = {
    "": {"verdict", "not_checked", "not_done", "cuts"},
    "result": {
        "front",
        "server_saw_updates",
        "aggregation",
        "guarantee",
        "privacy",
        "minutes",
        "trial_seconds",
        "nonprivate_epochs",
        "nonprivate_converged",
        "strategy",
        "measurements",
        "pictures",
        "failure_reason",
    },
    "result.sites.*": {"epsilon", "personal_counts"},
    "result.audit": {"gaussian_epsilon", "assumed"},
    "result.control": {"gaussian_epsilon", "assumed"},
    "requirements.*": {"path", "line", "model"},
    "result.requirements.*": {"path", "line", "model"},
    "result.trainings.*": {"points"},
    "result.training": {"points"},
    "result.models.*": {"adversarial", "max_queries", "noise_samples"},
    "result.models.*.examples": {"abstained_radius"},
    "result.models.*.diagnostics": {"not_judged"},
    **{
        f"{place}.quantity": {"fpr"}
        for place in (
            "claims.*.bracket.lower",
            "claims.*.bracket.upper",
            "result.audit.lower",
            "result.control.lower",
        )
    },
}
"""Fields with a default that objects of schema 2 have got since its golden files were written."""


def without_added(value, path=""):
    """A document of today without the fields that were added since, each of which holds its default."""
    if isinstance(value, dict):
        kept = {key: one for key, one in value.items() if key not in ADDED.get(path, ())}
        added = [one for key, one in value.items() if key not in kept]
        assert not any(added)
        return {key: without_added(one, f"{path}.{key}".strip(".")) for key, one in kept.items()}
    if isinstance(value, list):
        return [without_added(one, f"{path}.*") for one in value]
    return value


def both(path):
    """The leaves of a file of schema 1 beside those of the same record as it is written now."""
    old = json.loads(path.read_bytes())
    return leaves(old), leaves(without_added(json.loads(encode(decode(path.read_bytes())))))


def renames():
    """Rows of the table in docs/renames.md: object, old key, new key."""
    section = TABLE.read_text().partition("## JSON")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \| `(\w+)` \| `(\w+)` \|$", section, re.M)
    assert len(rows) > 80
    return rows


@pytest.mark.parametrize(
    "path", [path for path in OLD if "every-field" in path.name], ids=lambda path: path.name
)
def test_no_value_is_lost_or_moved_and_none_is_a_default(path):
    old, new = both(path)
    assert [value for _, value in old[1:]] == [value for _, value in new[1:]]
    assert (old[0], new[0]) == ((("schema",), 1), (("schema",), SCHEMA))
    assert len(path.read_text().splitlines()) > 80


@pytest.mark.parametrize(
    "path", [path for path in OLD if "every-field" not in path.name], ids=lambda path: path.name
)
def test_a_record_from_before_the_last_fields_keeps_each_value_and_their_order(path):
    old, new = both(path)
    left = iter(value for _, value in new[1:])
    assert all(any(value == one for one in left) for _, value in old[1:])


def test_the_files_have_every_kind_of_result_and_no_value_twice():
    kinds = {json.loads(path.read_bytes())["body"]["kind"] for path in OLD if "every-field" in path.name}
    assert kinds == set(upgrade.RESULTS)
    for path in OLD:
        if "every-field" in path.name:
            texts = [value for _, value in both(path)[0] if isinstance(value, str) and value[-1:].isdigit()]
            assert len(texts) - len(set(texts)) <= 6  # both sides of a bracket are about one quantity


def test_each_renamed_key_of_the_table_arrives_and_the_table_has_them_all():
    seen = set()
    for path in OLD:
        for (old, _), (new, _) in zip(*both(path), strict=False) if "every-field" in path.name else ():
            if len(old) == len(new):
                seen |= {(a, b) for a, b in zip(old, new, strict=True) if a != b and isinstance(a, str)}
    assert {(old, new) for _, old, new in renames()} == seen


def test_the_table_names_each_object_with_its_renamed_keys():
    shapes = {name: one.renamed for name, one in vars(upgrade).items() if isinstance(one, upgrade.Shape)}
    shapes |= {f"result {kind}": one.renamed for kind, one in upgrade.RESULTS.items()}
    rows = [(old, new) for _, old, new in renames()]
    inside = [pair for renamed in shapes.values() for pair in renamed.items()]
    assert sorted(rows) == sorted([*inside, *upgrade.RECORD_RENAMED.items()])


@by_name
def test_subjects_hashes_and_threats_are_the_same_strings(path):
    old, new = both(path)
    hashes = {
        "subject",
        "model_hash",
        "subject_hash",
        "data_hash",
        "data",
        "threat",
        "sha256",
        "method",
        "kind",
        "accountant",
    }
    before = sorted(str(value) for keys, value in old if keys[-1] in hashes)
    after = sorted(
        str(value)
        for keys, value in new
        if keys[-1] in hashes | {"metric"} and keys != ("provenance", "data", "hash")
    )
    assert before == after


@by_name
def test_what_is_written_now_is_the_golden_file_of_this_schema(path):
    kept = GOLDEN / path.name.replace("schema-1", f"schema-{SCHEMA}")
    golden = json.loads(kept.read_bytes())
    assert without_added(json.loads(encode(load(path)))) == golden
    assert without_added(json.loads(encode(load(kept)))) == golden
    assert load(kept) == load(path)


def test_the_first_rows_of_attacks_named_their_size_in_the_threat_alone():
    document = json.loads((GOLDEN / "schema-1-every-field-attack.json").read_bytes())
    row = document["body"]["attacks"][0]["rows"][0]
    for threat, eps in (("linf:4/255", 4 / 255), ("l2:0.5", 0.5), ("spatial:rotate=15", 0.0)):
        row.pop("eps", None)
        row["threat"] = threat
        assert decode(json.dumps(document).encode()).result.models[0].rows[0].eps == eps


def old_claim(**words):
    document = json.loads((GOLDEN / "schema-1-certify.json").read_bytes())
    document["claims"][0] |= words
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"primary": False}, r"claims\.0\.primary is no key of schema 1, where it is called 'delivered'"),
        (
            {"deliverd": True},
            r"claims\.0\.deliverd is no known key; expected name, title, model, bracket, primary",
        ),
    ],
)
def test_a_key_that_schema_1_did_not_have_is_refused_and_never_wins_over_the_old_one(words, told):
    with pytest.raises(
        RunFolderError,
        match=f"old.json holds what this Quintain does not know: {told}.*use the Quintain that wrote it",
    ):
        decode(old_claim(**words), source="old.json")


def test_a_damaged_record_of_schema_1_is_refused_and_not_repaired():
    for name, value in (("body", None), ("claims", 3), ("provenance", [])):
        document = json.loads((GOLDEN / "schema-1-certify.json").read_bytes())
        document[name] = value
        with pytest.raises(RunFolderError, match=r"old\.json is no result of this kind"):
            decode(json.dumps(document).encode(), source="old.json")


def test_a_document_is_not_changed_by_its_upgrade():
    document = json.loads(OLD[0].read_bytes())
    upgrade.from_schema_1(document)
    assert document == json.loads(OLD[0].read_bytes())
