"""A drill that is cut off in the midst of its private training, its leak or its audit goes on there."""

from dataclasses import dataclass, replace

import pytest

from quintain.core.errors import ExitCode
from quintain.core.progress import CheckpointTimer
from quintain.dp.step.optimizer import PrivateOptimizer
from quintain.drill import Settings, drill, pipeline, trials
from quintain.evaluate.steps import audit
from quintain.leakage.canaries import CanaryObserver
from quintain.leakage.updates import gradient_matching
from quintain.results.codec import load
from tests.drill.conftest import TINY, stopped
from tests.drill.own_models import write_files

NET = """
from torch import nn


def flat():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
"""


@dataclass
class Calls:
    """How often a function was called, and at which call it is interrupted."""

    done: int = 0
    last: int = -1

    def of(self, real):
        def call(*given, **named):
            self.done += 1
            if self.done == self.last:
                raise KeyboardInterrupt
            return real(*given, **named)

        return call


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Drill one step on a linear net into a folder, within TINY sizes and without the tests of the noise."""
    monkeypatch.setattr(pipeline, "QUICK", replace(TINY, train_examples=100))
    monkeypatch.setattr(trials, "LONG_ENOUGH", 0.0)
    monkeypatch.setattr(CheckpointTimer, "is_due", lambda _timer: True)
    monkeypatch.setattr(audit, "measurements", lambda *_plan, **_words: ())
    monkeypatch.setattr(audit, "noise_of_net", lambda *_: ())
    write_files(tmp_path)
    (tmp_path / "net.py").write_text(NET)

    def run(step, folder):
        # by a clock that stands a trial tells nothing: one is made for all
        for trial in {"private", "inversion"} - {"private" if step == "privatize" else ""}:
            monkeypatch.setattr(trials.Trials, trial, 0.0)
        settings = Settings(
            model=f"{tmp_path}/net.py:flat",
            data=f"{tmp_path}/binary.npz",
            only=(step,),
            quick=True,
            minutes=60.0,
            require=(),
        )
        assert drill(tmp_path / folder, settings, clock=stopped)[0] == ExitCode.OK
        (file,) = (tmp_path / folder).glob(f"*-{step}.json")
        return load(file).result

    return run


@pytest.mark.parametrize("step", ["privatize", "leak", "audit"])
def test_a_step_that_is_cut_off_goes_on_at_its_place(run, tmp_path, monkeypatch, step):
    place, name = {
        "privatize": (PrivateOptimizer, "step"),
        "leak": (gradient_matching, "_gradient"),
        "audit": (CanaryObserver, "__call__"),
    }[step]
    calls = Calls()
    monkeypatch.setattr(place, name, calls.of(getattr(place, name)))
    whole = run(step, "whole")
    steps = calls.done
    # the trials of the step go first, the same in each start
    calls.done, calls.last = 0, steps - 2
    with pytest.raises(KeyboardInterrupt, match=r"reconstruction|steps of (private|the audited) training"):
        run(step, "cut")
    assert any((tmp_path / "cut" / "unfinished" / step).iterdir())
    calls.done, calls.last = 0, -1
    again = run(step, "cut")
    assert calls.done < steps - 1
    assert not (tmp_path / "cut" / "unfinished").exists()
    if step == "leak":
        assert again.reconstructions[0].psnr == whole.reconstructions[0].psnr
        assert again.baseline_psnr_by_site[0] == whole.baseline_psnr_by_site[0]


def test_what_a_kill_left_beside_the_record_of_a_step_is_deleted_at_the_end(run, tmp_path):
    run("leak", "run")
    (tmp_path / "run" / "12-drill.json").unlink()
    left = tmp_path / "run" / "unfinished" / "leak" / "0-0.0001"
    left.mkdir(parents=True)
    (left / "state").write_text("private")
    run("leak", "run")
    assert not (tmp_path / "run" / "unfinished").exists()
