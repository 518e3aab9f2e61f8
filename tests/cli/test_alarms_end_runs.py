"""A run that ends in a soundness alarm has ended: its record is whole, and nothing unfinished is left."""

from importlib import import_module
from pathlib import Path

import pytest

from quintain.core.errors import ContradictionError, ExitCode
from quintain.evaluate.step import StepOutput
from quintain.results.privacy_records import LeakResult, Reconstruction
from quintain.results.robustness_records import CertifyResult
from tests.report.support.claims import accuracy

VERBS = {
    "attack": ("--threat", "linf:4/255"),
    "evaluate": ("--threat", "linf:4/255"),
    "certify": ("--threat", "linf:4/255"),
    "harden": (),
    "privatize": ("--steps", 2, "--batch-size", 8),
    "leak": ("gradient-inversion",),
}


@pytest.fixture
def words(small, weights):
    def words(verb):
        given = () if verb in ("harden", "privatize") else ("--weights", weights)
        return (verb, "--data", small, *given, *VERBS[verb], "--out", "r")

    return words


def step(verb, monkeypatch, end):
    """Put a step in place of a verb's own, which keeps some state and then ends."""

    def run(*_given, **_named):
        state = Path("r/unfinished/main/state")
        state.parent.mkdir(parents=True)
        state.write_text("half")
        return end()

    monkeypatch.setattr(import_module(f"quintain.evaluate.steps.{verb}"), f"run_{verb}", run)


@pytest.mark.parametrize("verb", VERBS)
def test_an_alarm_keeps_the_record_and_nothing_unfinished(call, words, monkeypatch, verb):
    claim = accuracy("net:linf:4/255", "Robust accuracy, net", 480, 461)
    update = Reconstruction("a plain update", 30.0, None, True)
    result = LeakResult(reconstructions=(update,)) if verb == "leak" else CertifyResult(())
    step(verb, monkeypatch, lambda: StepOutput(result, (claim,)))
    code, _, err = call(*words(verb))
    assert code == ExitCode.ALARM, err
    assert "SOUNDNESS ALARM" in err
    assert not Path("r/unfinished").exists()
    # the same command repeats the alarm, and the gate is not told that the run was not finished
    code, out, _ = call(*words(verb))
    assert code == ExitCode.ALARM
    assert "finished before: nothing was run" in out
    code, out, _ = call("gate", "r")
    assert code == ExitCode.ALARM
    assert "not finished" not in out


@pytest.mark.parametrize("verb", ["harden", "leak"])
def test_an_alarm_before_there_is_a_record_keeps_what_was_done(call, words, monkeypatch, verb):
    def end():
        raise ContradictionError("a bound lies above what was measured")

    step(verb, monkeypatch, end)
    code, _, err = call(*words(verb))
    assert code == ExitCode.ALARM, err
    assert Path("r/unfinished/main/state").read_text() == "half"
    assert not Path("r/result.json").exists()
