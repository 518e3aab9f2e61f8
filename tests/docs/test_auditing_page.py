"""The page on second opinions: its commands, kinds, figures and examples are those of the code."""

import importlib
import re
import sys
from pathlib import Path

import pytest

from quintain.cli.ci_files import OPTIONS
from quintain.cli.commands import COMMANDS
from quintain.leakage import max_auditable_epsilon
from quintain.leakage.canary_kinds import CANARY_KINDS
from quintain.testing.training_bugs import ACCOUNTANT_BUGS, TRAINING_BUGS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/auditing.md").read_text(encoding="utf-8")


def test_every_option_of_every_command_exists():
    (audit,) = [verb for verb in COMMANDS if verb.name == "audit"]
    known = {one.name for one in (*audit.options, *OPTIONS)}
    commands = re.findall(r"^ {4}quintain audit (.*)$", PAGE, re.MULTILINE)
    assert len(commands) == 4
    options = re.findall(r"--([a-z-]+)", " ".join([*commands, *re.findall(r"`(--.*?)`", PAGE)]))
    assert {option.replace("-", "_") for option in options} <= known


def test_every_kind_of_canary_is_explained():
    rows = re.findall(r"^\| `([a-z.]+)` \|", PAGE, re.MULTILINE)
    assert rows == [*CANARY_KINDS, "canaries.npz"]


def test_the_ceilings_are_those_of_the_bound():
    said = re.search(r"100, 500 and 1,000 of them show at most ([\d.]+), ([\d.]+) and ([\d.]+)", PAGE)
    assert said
    found = [max_auditable_epsilon(m) for m in (100, 500, 1000)]
    assert [f"{value:.1f}" for value in found] == list(said.groups())


@pytest.mark.parametrize("name", ["audit_fixed_batches", "audit_batch_divisor", "audit_weighted_sampler"])
def test_what_the_examples_claim(name, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    claim = importlib.import_module(name).CLAIM
    for module in [key for key in sys.modules if key.startswith(("audit_", "audited"))]:
        del sys.modules[module]
    (row,) = re.findall(rf"\({re.escape(f'../examples/{name}.py')}\).*?\| ([\d.]+) \|", PAGE)
    assert row == f"{claim:.2f}"


def test_every_planted_bug_of_the_table_is_one_that_can_be_planted():
    rows = re.findall(r"^\| ([a-z0-9 %-]+) \| (?:seen|not seen)", PAGE, re.MULTILINE)
    assert len(rows) == 11
    assert set(rows) - {"nothing planted"} <= {*TRAINING_BUGS, *ACCOUNTANT_BUGS}
