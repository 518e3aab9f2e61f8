"""Leakage attacks, audits and universal attacks that a signal ends: the same command goes on, bit for bit."""

import signal
from dataclasses import replace
from pathlib import Path

import pytest

from quintain.core.errors import ExitCode
from quintain.results.codec import load

TERM, KILL = int(signal.SIGTERM), int(signal.SIGKILL)

COUNT = """
import os, sys
from quintain.core.progress import CheckpointTimer
CheckpointTimer.is_due = lambda _timer: True
calls, number = int(sys.argv.pop(1)), int(sys.argv.pop(1))

def counted(real):
    def call(*given, **named):
        global calls
        print("step", file=sys.stderr)
        calls -= 1
        if calls == 0:
            os.kill(os.getpid(), number)
        return real(*given, **named)
    return call
"""

RUN = """
from quintain.cli.main import run
run()
"""

UNIVERSAL = """
from quintain.attacks.universal import fitting, uap
from quintain.attacks.universal.sign_stickers import SignStickers
fitting.pattern_gradient = uap.pattern_gradient = counted(fitting.pattern_gradient)
from quintain.core.registry import Entry
build = Entry.build
from quintain.evaluate.evasion import stickers
held_out = stickers.held_out

def told(test, fitted):
    found = getattr(fitted, "pattern", None)
    found = fitted.perturbation if found is None else found
    print("fitted:", found.numpy().tobytes().hex(), file=sys.stderr)
    return held_out(test, fitted)

stickers.held_out = told
Entry.build = lambda entry, **given: build(entry, **given, steps=4, batch_size=4)
"""

LEAK = """
from quintain.leakage.updates import gradient_matching
gradient_matching._gradient = counted(gradient_matching._gradient)
from quintain.evaluate.leaks import sent_updates
fit = sent_updates.fit
sent_updates.fit = lambda *given, **named: fit(*given, **named, seed=5)
"""

AUDIT = """
from quintain.leakage.canaries import CanaryObserver
CanaryObserver.__call__ = counted(CanaryObserver.__call__)
from quintain.dp.training import resume
real = resume.ResumableRun.__init__

def with_key(self, *given, **named):
    real(self, *given, **named)
    self._secret = bytes(resume.KEY_BYTES)

resume.ResumableRun.__init__ = with_key
from types import SimpleNamespace
from quintain.evaluate import privacy_target
privacy_target.secrets = SimpleNamespace(token_bytes=bytes)
from quintain.evaluate.steps import audit
audit.measurements, audit.noise_of_net = (lambda *_plan, **_words: ()), (lambda *_: ())
"""


@pytest.fixture
def run(ready, tmp_path, monkeypatch):
    """Run a command as a process that gets a signal in its step of that number; it ends so after so many."""
    monkeypatch.chdir(tmp_path)

    def run(patches, step, number, *words):
        (tmp_path / "program.py").write_text(COUNT + patches + RUN)
        told = ready(tmp_path / "program.py", step, number, *words, home=tmp_path)
        return told, told.err.splitlines().count("step")

    return run


def timeless(folder):
    """What a record says, but for how long it took."""
    record = load(Path(folder) / "result.json")
    result = record.result
    return replace(result, seconds=0.0) if hasattr(result, "seconds") else result, record.claims, record.notes


def pictures(folder):
    return {path.name: path.read_bytes() for path in (Path(folder) / "pictures").glob("*")}


def fitted(told):
    return [line for line in told.err.splitlines() if line.startswith("fitted:")]


def words_of(verb, small, weights):
    return {
        "attack": (
            UNIVERSAL,
            ("attack", "--weights", weights, "--attack", "uap", "--attack", "sign-stickers", "--data", small),
        ),
        "leak": (
            LEAK,
            (
                "leak",
                "gradient-inversion",
                "--weights",
                weights,
                "--steps",
                4,
                "--show-private",
                "--data",
                small,
            ),
        ),
        "audit": (
            AUDIT,
            ("audit", "--data", small, "--canaries", 60, "--steps", 6, "--batch-size", 20),
        ),
    }[verb]


@pytest.mark.parametrize(
    ("verb", "kept", "words"),
    [
        ("attack", (2, 6, 10), "10 steps of fitting are kept"),
        ("leak", (2, 6, 18), "2 reconstructions and 2 steps of the next one are kept"),
        ("audit", (1, 4, 8), "8 steps of the audited trainings are kept"),
    ],
)
def test_a_run_that_was_killed_thrice_goes_on_at_its_step_and_ends_as_one_that_was_not(
    verb, kept, words, run, small, weights
):
    """In the first fit, at the places of stickers, in what is on them; in either half of the training with
    noise, and in the control.
    """
    patches, call = words_of(verb, small, weights)
    whole, steps = run(patches, -1, TERM, *call, "--out", "whole")
    assert whole.code in (ExitCode.OK, ExitCode.ALARM), whole.err
    done = 0
    for number, signal_number in zip(kept, (KILL, KILL, TERM), strict=True):
        cut, _ = run(patches, number + 1 - done, signal_number, *call, "--out", "r")
        assert cut.code == (-KILL if signal_number == KILL else ExitCode.INTERRUPTED), cut.err
        done = number
    assert f"interrupted: {words} in r; to resume: quintain {verb} " in " ".join(cut.err.split())
    again, rest = run(patches, -1, TERM, *call, "--out", "r")
    assert again.code == whole.code, again.err
    assert rest == steps - done
    assert timeless("r") == timeless("whole")
    assert pictures("r") == pictures("whole")
    assert fitted(again) == fitted(whole)
    assert len(fitted(again)) == (2 if verb == "attack" else 0)
    assert not Path("r/unfinished").exists()


@pytest.mark.parametrize("verb", ["attack", "leak", "audit"])
def test_sigterm_before_the_first_step_keeps_nothing_but_the_private_update(verb, run, small, weights):
    patches, call = words_of(verb, small, weights)
    cut, _ = run(patches, 1, TERM, *call, "--out", "r")
    assert cut.code == ExitCode.INTERRUPTED
    kept = "what was finished before is kept in r" if verb == "leak" else "nothing is kept"
    assert f"interrupted: {kept}" in " ".join(cut.err.split())
    assert Path("r").exists() == (verb == "leak")


def test_universal_attacks_and_others_do_not_go_on_with_each_other(run, small, weights):
    patches, call = words_of("attack", small, weights)
    assert run(patches, 3, KILL, *call, "--out", "r")[0].code == -KILL
    other, _ = run(patches, -1, TERM, "attack", "--data", small, "--weights", weights, "--out", "r")
    assert other.code == ExitCode.USAGE
    assert "unfinished run of other settings" in " ".join(other.err.split())
    assert run(patches, -1, TERM, *call, "--out", "r")[0].code == ExitCode.OK
