"""Runs that a signal ends at a point of their own, and what the same command makes of what is left."""

import signal
from dataclasses import replace
from pathlib import Path

import pytest

from quintain.core.errors import ExitCode
from quintain.results.codec import load

PROGRAM = """
import os, sys
from quintain.evaluate.evasion import shard
shard.smallest_batch = lambda *_: 4
from quintain.evaluate.steps import attack
real = attack.run_attacks
attack.run_attacks = lambda *given, **named: real(*given, **named, checkpoint_seconds=1e-9)
from quintain.attacks.gradient.pgd import PGD
calls, attacked = int(sys.argv.pop(1)), PGD.run
number = int(sys.argv.pop(1))

def run(self, search):
    global calls
    print("attacked:", *search.rng.ids.tolist(), file=sys.stderr)
    calls -= 1
    if calls == 0:
        os.kill(os.getpid(), number)
    return attacked(self, search)

PGD.run = run
from quintain.cli.main import run as main
main()
"""

TERM, KILL = int(signal.SIGTERM), int(signal.SIGKILL)


@pytest.fixture(scope="module")
def signalled(ready, weights, small):
    """Run ``quintain attack`` in a folder as a process that gets a signal in its call of so many chunks."""

    def run(home, calls, number, out):
        (home / "program.py").write_text(PROGRAM)
        words = ("attack", "--data", small, "--weights", weights, "--attack", "pgd", "--out", out)
        return ready(home / "program.py", calls, number, *words, home=home)

    return run


@pytest.fixture(scope="module")
def whole(signalled, tmp_path_factory):
    """A run that nothing ends: its folder, and the chunks that it attacked."""
    home = tmp_path_factory.mktemp("whole")
    told = signalled(home, -1, TERM, "whole")
    assert told.code == ExitCode.OK, told.err
    return home / "whole", attacked(told)


@pytest.fixture
def attack(signalled, tmp_path, monkeypatch):
    """Run it in the folder of the test."""
    monkeypatch.chdir(tmp_path)
    return lambda calls, number, out: signalled(tmp_path, calls, number, out)


def attacked(told):
    """The chunks that were attacked, as the process announced them."""
    return [line.split()[1:] for line in told.err.splitlines() if line.startswith("attacked:")]


def timeless(folder):
    record = load(Path(folder) / "result.json")
    (found,) = record.result.models
    return replace(found, rows=tuple(replace(row, seconds=0.0) for row in found.rows)), record.claims


def test_sigterm_inside_a_batch_is_ctrl_c_and_the_same_command_goes_on_inside_the_batch(attack, whole):
    folder, chunks = whole
    assert len(chunks) > 3
    cut = attack(3, TERM, "r")
    assert cut.code == ExitCode.INTERRUPTED
    told = " ".join(cut.err.split())
    assert "interrupted: 2 chunks (" in told
    assert "of 30 examples) are kept in r; to resume: " in told
    again = attack(-1, TERM, "r")
    assert again.code == ExitCode.OK, again.err
    assert attacked(again) == chunks[2:]
    assert timeless("r") == timeless(folder)
    assert not Path("r/unfinished").exists()


def test_a_killed_run_keeps_every_chunk_that_was_finished(attack, whole):
    assert attack(4, KILL, "r").code == -KILL
    assert len(list(Path("r/unfinished").glob("*.npz"))) == 3
    again = attack(-1, TERM, "r")
    assert again.code == ExitCode.OK, again.err
    assert timeless("r") == timeless(whole[0])


def test_sigterm_before_anything_is_finished_says_that_nothing_is_kept(attack):
    cut = attack(1, TERM, "r")
    assert cut.code == ExitCode.INTERRUPTED
    assert "interrupted: nothing is kept" in cut.err
    assert not Path("r").exists()


def test_a_run_that_was_killed_before_anything_was_saved_passes_no_gate(ready, attack, tmp_path):
    assert attack(1, KILL, "r").code == -KILL
    code, _, err = ready.quintain("gate", "r", "--require", "clean_accuracy >= 0.1", home=tmp_path)
    assert code == ExitCode.INTERRUPTED, err


TRAINING = """
import os, sys
from quintain.training import loop
loop._Saver.is_due = lambda _saver: True
calls, step = int(sys.argv.pop(1)), loop._step

def counted(*given):
    global calls
    print("step:", *(one.step for one in given if isinstance(one, loop.StepContext)), file=sys.stderr)
    calls -= 1
    if calls == 0:
        os.kill(os.getpid(), 15)
    return step(*given)

loop._step = counted
from quintain.cli.main import run as main
main()
"""


def test_a_training_that_is_cut_off_goes_on_at_its_step_and_ends_with_the_same_weights(
    ready, tmp_path, small, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "program.py").write_text(TRAINING)

    def harden(calls, out):
        words = ("harden", "--data", small, "--defense", "pgd-at", "--epochs", 2, "--out", out)
        told = ready(tmp_path / "program.py", calls, *words, home=tmp_path)
        return told, [int(line.split()[1]) for line in told.err.splitlines() if line.startswith("step:")]

    whole, steps = harden(-1, "whole")
    assert whole.code == ExitCode.OK, whole.err
    cut, before = harden(len(steps) - 1, "h")
    assert cut.code == ExitCode.INTERRUPTED
    assert f"{len(steps) - 2} steps of training are kept in h; to resume: " in " ".join(cut.err.split())
    again, after = harden(-1, "h")
    assert again.code == ExitCode.OK, again.err
    assert before[:-1] + after == steps
    kept, first = (Path(name) / "models" / "model.safetensors" for name in ("h", "whole"))
    assert kept.read_bytes() == first.read_bytes()
    assert not Path("h/unfinished").exists()


SMOOTHING = """
import os, sys
from quintain.evaluate.pacing import Pace
Pace.next_size = lambda _pace, left: min(2, left)
from quintain.evaluate.certificate_chunks import CertificateStore
calls, put = int(sys.argv.pop(1)), CertificateStore.put

def counted(self, chunk):
    global calls
    print("certified:", *chunk.rows, file=sys.stderr)
    put(self, chunk)
    calls -= 1
    if calls == 0:
        os.kill(os.getpid(), 9)

CertificateStore.put = counted
from quintain.cli.main import run as main
main()
"""


def test_certificates_by_smoothing_outlive_a_kill(ready, tmp_path, small, weights, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "program.py").write_text(SMOOTHING)

    def certify(calls, out):
        words = ("certify", "--data", small, "--weights", weights, "--certifier", "smoothing", "--limit", 6)
        more = ("--noise-samples", 100, "--threat", "l2:0.1", "--out", out)
        told = ready(tmp_path / "program.py", calls, *words, *more, home=tmp_path)
        return told, [line for line in told.err.splitlines() if line.startswith("certified:")]

    whole, chunks = certify(-1, "whole")
    assert whole.code == ExitCode.OK, whole.err
    assert certify(2, "r")[0].code == -KILL
    again, rest = certify(-1, "r")
    assert again.code == ExitCode.OK, again.err
    assert rest == chunks[2:]
    kept, first = (load(Path(name) / "result.json") for name in ("r", "whole"))
    assert kept.claims == first.claims
    assert not Path("r/unfinished").exists()


EDITED = """
import torch
from torch import nn

class Fixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(784, 2)

    def forward(self, x):
        return self.last(x.flatten(1))

def make(seed=0):
    return Fixed()
"""


def test_an_edited_net_does_not_go_on_with_the_certificates_of_the_one_before(
    fresh, tmp_path, small, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("program.py").write_text(SMOOTHING)
    Path("net.py").write_text(EDITED)
    words = ("certify", "--data", small, "--model", "net.py:make", "--certifier", "smoothing", "--limit", 6)
    more = ("--noise-samples", 100, "--threat", "l2:0.1", "--out", "r")
    assert fresh(Path("program.py"), 2, *words, *more, home=tmp_path).code == -KILL
    Path("net.py").write_text(EDITED + "# an edit of which the hash of the model knows nothing")
    told = fresh(Path("program.py"), -1, *words, *more, home=tmp_path)
    assert told.code == ExitCode.USAGE, told.err
    assert "the content of --model is not what it was" in " ".join(told.err.split())
    Path("net.py").write_text(EDITED)
    assert fresh(Path("program.py"), -1, *words, *more, home=tmp_path).code == ExitCode.OK
