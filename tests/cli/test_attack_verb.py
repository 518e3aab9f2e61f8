"""The attack verb: which attacks, budgets and aims; cut off and gone on; alone and as one of several
processes.
"""

import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from quintain.attacks import PGD
from quintain.core.errors import ExitCode
from quintain.evaluate.evasion import decision_probe, probes
from quintain.evaluate.evasion.defaults import default_attacks
from quintain.evaluate.steps import attack
from quintain.results.codec import load

SIZES = ("--threat", "linf:2/255", "--threat", "linf:4/255")


@pytest.fixture
def words(weights, small):
    return ("attack", "--data", small, "--weights", weights)


def result(folder="r"):
    return load(Path(folder) / "result.json")


def timeless(record):
    """All that a record claims, without what the clock and the command line say."""
    (found,) = record.result.models
    rows = tuple(replace(row, seconds=0.0) for row in found.rows)
    return replace(found, rows=rows), record.claims, record.notes, record.requirements


def test_without_a_name_the_attacks_are_those_that_suit_the_model(call, words):
    code, out, _ = call(*words, "--limit", 8, "--out", "r")
    assert code == ExitCode.OK
    assert list(dict.fromkeys(row.attack for row in result().result.models[0].rows)) == list(
        default_attacks("gradients", "linf")
    )
    assert "broken by: " in out
    assert "trust: " in out


def test_a_budget_is_kept_example_by_example(call, words):
    assert call(*words, "--attack", "pgd", "--queries", 4, "--out", "r")[0] == ExitCode.OK
    assert max(result().result.models[0].break_log.forwards) <= 4


def test_a_class_that_is_aimed_at_is_left_out_and_counted(call, words):
    code, out, _ = call(*words, "--attack", "pgd", "--target", 1, "--out", "r")
    assert code == ExitCode.OK
    record = result()
    found = record.result.models[0]
    assert found.target_class == 1
    assert set(found.examples.labels) == {0}
    assert f"{30 - len(found.examples.labels)} examples of that class are not attacked" in record.notes[0]
    assert record.notes[0] in " ".join(out.split())


NEVER_ONE = """
from torch import nn, stack


class Net(nn.Module):
    def forward(self, x):
        z = x.flatten(1)[:, 0]
        return stack((0 * z, 0 * z - 100, 10 * z - 2), 1)


def make():
    return Net()


def always_zero():
    net = Net()
    net.forward = lambda x: stack((x[:, 0], 0 * x[:, 0] - 100, 0 * x[:, 0] - 100), 1)
    return net
"""
"""Nets of which the first confuses class 1 with 0 always, and knows 0 and 2 by the first feature."""

AIMED = ("attack", "--model", "net.py:make", "--data", "d.npz", "--attack", "pgd", "--threat", "linf:1/100")


@pytest.fixture
def three_classes():
    """30 vectors, ten of each class, and a net that is never right on those of class 1."""
    Path("net.py").write_text(NEVER_ONE)
    y = np.repeat(np.arange(3), 10)
    x = np.random.default_rng(0).uniform(0, 0.1, (30, 2)).astype(np.float32) + 0.5 * (y == 2)[:, None]
    np.savez("d.npz", images=x.astype(np.float32), labels=y)


def test_examples_that_are_left_out_stay_in_every_accuracy(call, three_classes):
    """The examples of the target class are those that the model does not know: it is right on 20 of 30."""
    wanted = ("clean_accuracy(scope=sample) >= 0.9", "attacked_accuracy(linf:1/100) >= 0.5")
    words = [word for one in wanted for word in ("--require", one)]
    code, out, err = call(*AIMED, "--target-class", 1, *words, "--out", "r")
    assert code == ExitCode.FAILED, err
    assert [one.verdict.decision for one in result().requirements] == ["FAIL", "UNDECIDED"]
    assert "attacks aimed at one class left 20 of 30" in out
    assert [claim.bracket.upper.evidence.trials for claim in result().claims] == [30, 30]
    # nothing is broken toward class 1, and yet too few are right as they are
    code, _, _ = call(*AIMED, "--target-class", 1, "--require", "attacked_accuracy(linf:1/100) >= 0.7")
    assert code == ExitCode.FAILED


def test_an_attack_toward_one_class_does_not_stand_for_one_toward_any(call, three_classes):
    assert call(*AIMED, "--out", "any")[0] == ExitCode.OK
    assert call(*AIMED, "--target-class", 1, "--out", "one")[0] == ExitCode.OK
    code, out, _ = call("compare", "any", "one", "--fail-on-regression")
    assert code == ExitCode.FAILED
    assert "the earlier run attacked by pgd, the later one by pgd aimed at class 1" in " ".join(out.split())
    assert call("compare", "one", "one", "--fail-on-regression")[0] == ExitCode.OK


def test_what_was_aimed_at_a_class_is_replayed_with_that_class_in_the_accuracy(call, three_classes):
    assert call(*AIMED, "--target-class", 2, "--threat", "linf:1/2", "--out", "one")[0] == ExitCode.OK
    words = ("replay", "one", "--model", "net.py:always_zero", "--out", "r")
    assert call(*words, "--require", "clean_accuracy(scope=sample) >= 0.4")[0] == ExitCode.FAILED
    clean, *_ = result().claims
    assert (clean.bracket.upper.evidence.hits, clean.bracket.upper.evidence.trials) == (10, 30)


@pytest.mark.parametrize("token", ["l2:0.5", "spatial:rotate=10,shift=1", "color:brightness=0.1", "negative"])
def test_any_threat_that_an_attack_serves_is_attacked_and_reported(call, words, token):
    code, _, err = call(*words, "--threat", token, "--limit", 4, "--out", "r")
    assert code == ExitCode.OK, err
    assert [claim.bracket.quantity.threat for claim in result().claims] == ["", token]
    assert call("report", "r")[0] == ExitCode.OK


class Cut(PGD):
    """Cut off at its second call."""

    __slots__ = ()

    def __call__(self, model, x, y, threat, **named):
        if threat.spec == "linf:4/255":
            raise KeyboardInterrupt
        return super().__call__(model, x, y, threat, **named)

    def __repr__(self):
        return repr(PGD(self.steps, self.rel_step_size, self.restarts, self.loss))


def test_the_same_command_goes_on_after_ctrl_c_and_comes_to_the_same(call, words, monkeypatch):
    assert call(*words, *SIZES, "--attack", "pgd", "--out", "whole")[0] == ExitCode.OK
    with monkeypatch.context() as patch:
        patch.setattr("quintain.attacks.gradient.pgd.PGD", Cut)
        code, _, err = call(*words, *SIZES, "--attack", "pgd", "--out", "r")
    assert code == ExitCode.INTERRUPTED
    assert "examples, counted once for each of 2 attacks and sizes) are kept in r; to resume: " in err
    assert list(Path("r/unfinished").glob("*.npz"))
    code, _, err = call(*words, *SIZES, "--attack", "pgd", "--seed", 1, "--out", "r")
    assert code == ExitCode.USAGE
    assert "seed = 0, now 1" in " ".join(err.split())
    assert call(*words, *SIZES, "--attack", "pgd", "--out", "r")[0] == ExitCode.OK
    assert timeless(result()) == timeless(result("whole"))
    assert not Path("r/unfinished").exists()


def test_a_model_that_dies_half_way_leaves_a_result_and_says_how_to_go_on(call, small, weights, tmp_path):
    (tmp_path / "net.py").write_text(
        "import os\n"
        "from quintain.models.nets import xray_cnn\n"
        "class Net(type(xray_cnn())):\n"
        "    calls = 0\n"
        "    def forward(self, x):\n"
        "        Net.calls += 1\n"
        "        if os.environ.get('DIES') and Net.calls > 70:\n"
        "            raise ConnectionError('gone')\n"
        "        return super().forward(x)\n"
        "def make():\n"
        "    net = xray_cnn()\n"
        "    net.__class__ = Net\n"
        "    return net\n"
    )
    arguments = (
        "attack",
        "--data",
        small,
        "--model",
        "net.py:make",
        "--weights",
        weights,
        *SIZES,
        "--attack",
        "pgd",
        "--out",
        "r",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIES", "yes")
        code, out, err = call(*arguments)
    told = " ".join(err.split())
    assert code == ExitCode.EXECUTION
    assert "gone" in told
    assert "to resume: quintain" in told
    partial = result().result.models[0]
    assert "gone" in partial.stop_reason
    assert "stopped early" in out
    assert "stopped early" in Path(call("report", "r")[1].strip()).read_text()
    assert call(*arguments)[0] == ExitCode.OK
    assert result().result.models[0].stop_reason == ""


def torchrun(size, *words, home):
    """A program as the launcher starts it; what was said in all."""
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        str(size),
        "--master-port",
        "0",
        "--rdzv-backend",
        "c10d",
    ]
    launch += ["--rdzv-endpoint", "localhost:0", *words]
    told = subprocess.run(launch, capture_output=True, text=True, cwd=home, check=False)
    assert told.returncode == 0, told.stderr
    return told.stdout


def forked(ready, size, *words, home):
    """The same in forks that have what the launcher gives: its variables, and its store."""
    told = ready.team(size, home / words[0], *words[1:], home=home)
    assert [one.code for one in told] == [0] * size, told
    return "".join(one.out for one in told)


@pytest.mark.parametrize(
    "launched", [False, pytest.param(True, marks=pytest.mark.exhaustive)], ids=["forked", "torchrun"]
)
def test_two_processes_come_to_what_one_does(call, words, tmp_path, monkeypatch, ready, launched):
    arguments = [str(word) for word in (*words, *SIZES, "--attack", "fgsm", "--attack", "pgd")]
    program = (
        "import sys\n"
        "from quintain.evaluate.evasion import decision_probe, probes\n"
        f"decision_probe.WALK_QUERIES, probes.RANDOM = {decision_probe.WALK_QUERIES}, {probes.RANDOM}\n"
        "from quintain.evaluate.steps import attack\n"
        "real = attack.run_attacks\n"
        "attack.run_attacks = lambda *given, **named: real(*given, **named, batch_size=7)\n"
        "from quintain.cli.main import run\n"
        "run()\n"
    )
    (tmp_path / "program.py").write_text(program)
    start = torchrun if launched else partial(forked, ready)
    two = start(2, "program.py", *arguments, "--out", "two", home=tmp_path)
    monkeypatch.setattr(attack, "run_attacks", partial(attack.run_attacks, batch_size=7))
    code, one, err = call(*words, *SIZES, "--attack", "fgsm", "--attack", "pgd", "--out", "one")
    assert code == ExitCode.OK, err
    assert timeless(result("two")) == timeless(result("one"))
    assert two.count("trust: ") == one.count("trust: ") == 1
    assert not Path("two/unfinished").exists()


def test_the_package_runs_as_a_module(tmp_path):
    told = subprocess.run(
        [sys.executable, "-m", "quintain", "--version"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    assert told.stdout.strip() == __import__("quintain").__version__
