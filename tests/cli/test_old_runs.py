"""Run folders that were written in schema 1: they are still reported and compared."""

import json
import shutil
from pathlib import Path

import pytest

from quintain.core.errors import ExitCode

GOLDEN = Path(__file__).parents[1] / "results" / "golden"


def folder_of(path, schema, *kinds):
    """A run folder of stored records, as a drill leaves it."""
    path.mkdir()
    (path / "run.json").write_text('{"quintain": "0.1.0", "seed": 7, "quick": false}')
    for number, kind in enumerate(kinds, 1):
        shutil.copy(GOLDEN / f"schema-{schema}-{kind}.json", path / f"{number:02}-{kind}.json")
    return path


def test_a_run_folder_of_schema_1_is_reported_word_for_word_like_one_of_schema_2(call, tmp_path):
    pages = []
    for schema in (1, 2):
        folder = folder_of(tmp_path / f"schema-{schema}", schema, "certify", "audit")
        code, out, err = call("report", folder.name)
        assert (code, err) == (ExitCode.OK, "")
        assert out.strip() == f"{folder.name}/report.html"
        pages.append((folder / "report.html").read_text())
    old, new = pages
    assert old == new
    assert "robust_accuracy(linf:4/255) &gt;= 0.7" in old
    assert "CONTRADICTION" in old
    assert "Privacy" in old


def test_a_run_folder_of_schema_1_is_compared_with_one_of_schema_2(call, tmp_path):
    folder_of(tmp_path / "before", 1, "certify", "audit")
    after = folder_of(tmp_path / "after", 2, "certify", "audit")
    code, out, err = call("compare", "before", "after")
    assert (code, err) == (ExitCode.OK, "")
    assert out.count("both sides are where they were") == 3
    record = json.loads((after / "01-certify.json").read_bytes())
    for side in ("lower", "upper"):
        record["claims"][0]["bracket"][side]["quantity"]["data_hash"] = "0123abcd"
    (after / "01-certify.json").write_text(json.dumps(record))
    code, out, _ = call("compare", "before", "after")
    assert code == ExitCode.OK
    assert "the data differs: 3f1c9a2e before, 0123abcd after" in out


@pytest.mark.parametrize("verb", ["report", "compare"])
def test_a_folder_with_a_record_of_a_newer_schema_or_an_unknown_key_is_refused_by_name(call, tmp_path, verb):
    folder = folder_of(tmp_path / "run", 2, "certify")
    whole = (folder / "01-certify.json").read_text()
    arguments = ("run", "run") if verb == "compare" else ("run",)
    for old, new, told in (
        ('"schema": 2', '"schema": 3', "01-certify.json is of schema 3"),
        ('"primary": true', '"delivered": true', "claims.0.delivered is no known key"),
    ):
        (folder / "01-certify.json").write_text(whole.replace(old, new, 1))
        code, _, err = call(verb, *arguments)
        assert code == ExitCode.USAGE
        assert told in err
    assert not (folder / "report.html").exists()
