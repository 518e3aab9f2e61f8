"""The GitHub Action: its steps, run as the runner runs them, on a tiny net."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from quintain.cli.commands import COMMANDS
from tests.schemas import check_junit, check_sarif

ROOT = Path(__file__).parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
NET = """
import torch
from torch import nn

print("::error::a command to the runner")


def make():
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
"""
ATTACK = "attack --model net.py:make --data 'my data.npz' --threat linf:0.5 --attack fgsm"


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A checked-out repository."""
    place = tmp_path_factory.mktemp("work")
    (place / ".git").mkdir()
    (place / "pyproject.toml").write_text("[project]\n")
    (place / "net.py").write_text(NET)
    labels = np.arange(20) % 2
    images = np.random.default_rng(0).uniform(0, 1, (20, 4, 4)).astype(np.float32)
    np.savez(place / "my data.npz", images=images, labels=labels)
    return place


@pytest.fixture
def action(work, tmp_path):
    """Run the last step with these inputs; gives exit code, what it printed, its outputs and the summary."""
    (_, step) = ACTION["runs"]["steps"]
    assert step["shell"] == "python"

    def run(args, undecided=""):
        given = {"args": args, "undecided": undecided}
        named = {
            name: re.sub(r"\$\{\{ inputs\.([a-z]+) \}\}", lambda found: given[found[1]], value)
            for name, value in step["env"].items()
        }
        files = {"GITHUB_OUTPUT": tmp_path / "output", "GITHUB_STEP_SUMMARY": tmp_path / "summary.md"}
        environment = {
            **os.environ,
            **named,
            **{name: str(path) for name, path in files.items()},
            "RUNNER_TEMP": str(tmp_path),
            "PYTHONPATH": str(ROOT / "src"),
        }
        ended = subprocess.run(
            [sys.executable, "-c", step["run"]],
            cwd=work,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        outputs = dict(line.split("=", 1) for line in files["GITHUB_OUTPUT"].read_text().splitlines())
        summary = files["GITHUB_STEP_SUMMARY"]
        return ended.returncode, ended.stdout, outputs, summary.read_text() if summary.exists() else ""

    return run


def test_a_gate_that_fails_fails_the_step_and_leaves_its_files(action):
    code, out, outputs, summary = action(f"{ATTACK} --require 'robust_accuracy(linf:0.5) >= 0.9'")
    assert code == 1
    assert (outputs["verdict"], outputs["exit-code"]) == ("FAILED", "1")
    check_junit(Path(outputs["junit"]).read_text())
    check_sarif(Path(outputs["sarif"]).read_text())
    assert Path(outputs["report"]).read_text().startswith("<!doctype html>")
    assert summary.startswith("## quintain attack: FAILED")
    assert set(outputs) == set(ACTION["outputs"])
    token = re.match(r"::stop-commands::([0-9a-f]{32})\n", out)[1]
    inside, after = out.split(f"\n::{token}::\n")
    assert "::error::a command to the runner" in inside
    assert after.startswith(
        "::error file=pyproject.toml,line=1,title=Quintain::robust_accuracy(linf:0.5) >= 0.9"
    )
    assert len(after.splitlines()) == 1
    assert "required >= 0.9.%0A" in after


def test_arguments_are_words_and_never_code(action, work):
    code, _, outputs, _ = action("attack --model 'net.py:make; touch one' --data $(touch two) `touch three`")
    assert code == 2
    assert outputs["verdict"] == "USAGE"
    assert not {"one", "two", "three"} & {path.name for path in work.iterdir()}


def test_the_options_that_are_added_are_those_that_each_command_has():
    step = ACTION["runs"]["steps"][-1]["run"]
    left_out = [
        {*re.findall(r'"([a-z]+)"', names)} for names in re.findall(r"words\[0\] not in \{(.+?)\}", step)
    ]
    with_files = {one.name: {other.name for other in one.options} for one in COMMANDS if one.concerns_a_run}
    assert left_out == [
        {name for name, options in with_files.items() if added not in options}
        for added in ("out", "undecided")
    ]


EXACT = """
def neighbors():
    return [1.0, 1.0], [1.0]


def release(records, rng):
    return sum(records)
"""


def test_a_command_without_a_run_folder_is_given_none_and_its_alarm_is_told(action, work):
    (work / "m.py").write_text(EXACT)
    code, _, outputs, summary = action("audit --mechanism=m.py:release --claim 1 --delta 1e-5")
    assert (code, outputs["verdict"]) == (4, "ALARM"), summary
    assert "report" not in outputs
    assert summary.startswith("## quintain audit: ALARM")


UNDECIDED = f"{ATTACK.replace('0.5', '1e-9')} --require 'robust_accuracy(linf:1e-9) >= 0.01'"


@pytest.mark.exhaustive
def test_what_is_undecided_fails_the_step(action):
    """As a gate that fails does, by another exit code."""
    code, _, outputs, _ = action(UNDECIDED)
    assert (code, outputs["verdict"], outputs["exit-code"]) == (3, "UNDECIDED", "3")


def test_what_is_undecided_can_be_a_warning(action):
    code, _, outputs, summary = action(UNDECIDED, undecided="warn")
    assert (code, outputs["verdict"], outputs["exit-code"]) == (0, "UNDECIDED", "0")
    assert "UNDECIDED (warning)" in summary
