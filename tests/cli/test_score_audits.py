"""``quintain audit --scores``: a second opinion on trainings that were done elsewhere."""

import re
from pathlib import Path

import numpy as np
import pytest

from quintain.core.errors import ExitCode


@pytest.fixture
def audit(call, tmp_path):
    """Audit files of 300 canaries each, whose scores tell their coins as clearly as it says."""

    def run(distance, *words, trainings=1, same_coins=False):
        files = []
        for number in range(trainings):
            rng = np.random.default_rng(0 if same_coins else number)
            coins = rng.random(300) < 0.5
            files += ["--scores", tmp_path / f"{number}.npz"]
            np.savez(files[-1], scores=distance * coins + rng.standard_normal(300), included=coins)
        return call("audit", *files, *words)

    return run


def test_without_a_claim_the_bounds_are_shown(audit):
    code, out, _ = audit(4.0)
    assert code == ExitCode.OK
    assert re.search(r"epsilon at delta 1e-05 is at least [1-9]\.\d+ ", out)
    assert "if scores are independent and Gaussian" in out


def test_scores_that_tell_nothing_contradict_no_claim(audit):
    code, out, _ = audit(0.0, "--claim", 0.5)
    assert code == ExitCode.OK
    assert "CONSISTENT: the claim was not crossed, which does not prove it" in out


def test_one_training_makes_a_claim_suspect_and_five_contradict_it(audit):
    assert audit(4.0, "--claim", 1)[0] == ExitCode.UNDECIDED
    code, out, _ = audit(4.0, "--claim", 1, trainings=5)
    assert code == ExitCode.ALARM
    assert "CONTRADICTION" in out


def test_an_audit_that_rests_on_an_assumption_stands_beside_and_crosses_no_claim(audit):
    code, out, _ = audit(1.7, "--claim", 5, "--auditor", "gaussian-pair")
    assert code == ExitCode.OK
    words = " ".join(out.split())
    assert "(an estimate)" in words
    assert "assumed, and no bound of the claim" in words
    assert "CONSISTENT" in words
    code, out, _ = audit(1.7, "--claim", 5, "--auditor", "plan-curve")
    assert code == ExitCode.OK
    assert "Gaussian" in out


def test_an_audit_of_many_runs_does_not_fit(audit):
    code, _, err = audit(1.0, "--auditor", "many-runs")
    assert code == ExitCode.USAGE
    assert "scores_of canaries" in " ".join(err.split())


def test_a_training_is_not_counted_twice(audit):
    code, _, err = audit(4.0, "--claim", 1, trainings=2, same_coins=True)
    assert code == ExitCode.EXECUTION
    assert "fresh coins" in " ".join(err.split())


def test_copies_of_a_training_in_another_order_are_not_counted_as_others(call, tmp_path):
    rng = np.random.default_rng(0)
    coins, scores = rng.random(300) < 0.5, rng.standard_normal(300)
    files = []
    for number in range(2):
        order = np.random.default_rng(number).permutation(300)
        files += ["--scores", tmp_path / f"{number}.npz"]
        np.savez(files[-1], scores=scores[order], included=coins[order])
    code, _, err = call("audit", *files, "--claim", 0)
    assert code == ExitCode.EXECUTION
    assert "the same scores and coins in another order" in " ".join(err.split())


def test_equal_scores_of_as_many_included_canaries_are_no_copies(call, tmp_path):
    coins = np.arange(300) < 150
    files = []
    for number in range(2):
        files += ["--scores", tmp_path / f"{number}.npz"]
        included = np.random.default_rng(number).permutation(coins)
        np.savez(files[-1], scores=np.zeros(300), included=included)
    assert call("audit", *files, "--claim", 1)[0] == ExitCode.OK


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"scores": [1.0, 2.0]}, "no array included"),
        ({"scores": [1.0, np.nan], "included": [True, False]}, "NaN"),
        ({"scores": [2**60, 2**60 + 1], "included": [True, False]}, "scores are integers beyond 2^53"),
        ({"scores": ["a", "b"], "included": [True, False]}, "scores of type"),
        ({"scores": [1.0, 2.0], "included": [1, 2]}, "included of type"),
        ({"scores": [1.0, 2.0, 3.0], "included": [1, 0]}, "3 scores and 2 coins"),
        ({"scores": np.array([{}], dtype=object), "included": [True]}, "cannot be read"),
    ],
)
def test_files_of_another_form_are_refused(call, tmp_path, arrays, message):
    np.savez(tmp_path / "s.npz", **arrays)
    code, _, err = call("audit", "--scores", tmp_path / "s.npz")
    assert code == ExitCode.EXECUTION
    assert message in " ".join(err.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--claim", 3), "--claim 3 without --scores"),
        (("--scores", "nowhere.npz"), "there is no file nowhere.npz"),
        (("--scores", "nowhere.npz", "--claim", "nan"), "expected an epsilon"),
        (("--scores", "nowhere.npz", "--epsilon", 1), "expected --claim 1, the epsilon that is claimed"),
        (("--scores", "nowhere.npz", "--require", "epsilon <= 1"), "makes no run folder; leave it out"),
        (("--scores", "nowhere.npz", "--out", "r"), "makes no run folder; leave it out"),
        (("--scores", "s.npz", "--canaries", 50), "got --canaries with --scores, which does not read it"),
        (("--scores", "s.npz", "--adjacency", "replace"), "got --adjacency without --train or --mechanism"),
        (("--mechanism", "m.py:f", "--kind", "blank"), "got --kind without --train, whose option it is"),
        (
            ("--mechanism", "m.py:f", "--auditor", "gaussian"),
            "got --auditor with --mechanism, which does not",
        ),
        (("--train", "m.py:f", "--runs", 300), "got --runs without --mechanism, whose option it is"),
        (("--train", "m.py:f", "--batch-size", 9), "got --batch-size with --train, which does not read it"),
        (("--runs", 300), "got --runs without --mechanism, whose option it is; leave it out, or give"),
        (("--kind", "pattern"), "got --kind without --train"),
    ],
)
def test_what_cannot_be_audited_is_a_usage_error(call, words, message):
    code, _, err = call("audit", *words)
    assert code == ExitCode.USAGE
    assert message in " ".join(err.split())


def test_what_a_project_requires_is_said_not_to_be_checked(audit, tmp_path):
    Path("pyproject.toml").write_text('[tool.quintain]\nrequire = ["epsilon(delta=1e-5) <= 1"]\n')
    code, out, _ = audit(4.0)
    assert code == ExitCode.OK
    assert "not checked: the requirements of" in " ".join(out.split())
