"""``docs/federated.md``: each promise names a test that is there."""

import re
from pathlib import Path

import pytest

from quintain.core.registry import declared_entries

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/federated.md").read_text(encoding="utf-8")
PROMISES = re.findall(r"\| `(tests/\S+\.py)::(\w+)` \|", PAGE)


@pytest.mark.parametrize(("path", "name"), PROMISES)
def test_a_promise_is_held_by_a_test(path, name):
    assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8")


def test_every_line_of_the_table_names_its_test():
    table = PAGE.split("## What holds")[1].split("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")]
    assert len(PROMISES) == len(rows) - 1 == 63


def test_every_aggregation_has_a_row_of_its_costs():
    table = PAGE.split("## Which sum, and what it costs")[1].split("\n## ")[0]
    names = {"plain-sum": "none"}
    for name in declared_entries("aggregation"):
        assert f"| `{names.get(name, name)}` |" in table
