"""The page on requirements: each form can be read, and its file is read as it says."""

import re
from dataclasses import fields
from pathlib import Path

from quintain.cli.commands import COMMANDS
from quintain.cli.project_settings import KEYS, ProjectSettings, find_project_settings
from quintain.results.quantity import Metric
from quintain.results.requirements import _KEYWORDS, ATTACKED_ACCURACY, Requirement

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "requirements.md").read_text(encoding="utf-8")


def first_cells(head):
    """The quoted text of the first column of the table with this head."""
    table = PAGE.partition(f"| {head} |")[2].partition("\n\n")[0]
    return re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)


def test_every_quantity_has_a_requirement_that_can_be_read():
    found = [Requirement.parse(text) for text in first_cells("requirement")]
    assert {one.name for one in found} == {*map(str, Metric), ATTACKED_ACCURACY}


def test_every_keyword_and_its_default_are_named():
    shown = first_cells("keyword")
    assert {text.partition("=")[0] for text in shown} == set(_KEYWORDS)
    for text in shown:
        metric = {"delta": "epsilon", "fpr": "membership_tpr"}.get(text.partition("=")[0], "clean_accuracy")
        Requirement.parse(f"{metric}({text}) <= 1")
    assert Requirement.parse("robust_accuracy(linf:4/255) >= 0.7").scope == "population"
    assert Requirement.parse("attacked_accuracy(linf:4/255) >= 0.7").scope == "sample"


def test_the_file_is_read_and_has_every_key(tmp_path):
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "pyproject.toml").write_text(example)
    found = find_project_settings(tmp_path)
    assert (len(found.require), found.undecided) == (3, "fail")
    assert first_cells("key") == list(KEYS) == [one.name for one in fields(ProjectSettings)][1:]


def test_commands_and_links_exist():
    names = {verb.name for verb in COMMANDS}
    assert set(re.findall(r"^ {4}quintain (\w+)", PAGE, re.MULTILINE)) <= names
    links = re.findall(r"\]\(([^)]+)\)", PAGE)
    assert links
    assert all((ROOT / "docs" / link.partition("#")[0]).exists() for link in links)
