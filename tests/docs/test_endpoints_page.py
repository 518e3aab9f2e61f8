"""The page on endpoints: each key of the file stands in its table, and its example is read."""

import re
from dataclasses import fields
from pathlib import Path

from quintain.models.endpoint import Endpoint, read_endpoint

PAGE = (Path(__file__).parents[2] / "docs" / "endpoints.md").read_text(encoding="utf-8")


def test_the_table_has_each_key_once():
    keys = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert keys == [field.name for field in fields(Endpoint)]


def test_the_table_has_the_defaults_that_are_numbers_or_words():
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", PAGE, re.MULTILINE))
    defaults = {
        field.name: field.default
        for field in fields(Endpoint)
        if isinstance(field.default, int | float | str)
    }
    assert {name: rows[name].strip("`") for name in defaults} == {
        name: value if isinstance(value, str) else f"{value:g}" for name, value in defaults.items()
    }


def test_the_example_is_read(tmp_path):
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "endpoint.toml").write_text(example)
    endpoint = read_endpoint(tmp_path / "endpoint.toml")
    assert endpoint.class_names == ("normal", "pneumonia")
    assert endpoint.parse_response({"result": {"prediction": {"label": "pneumonia"}}}, 1) == [1]
