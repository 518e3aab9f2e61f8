"""Broken private training, run through the public entry, raises the alarm that it should; the clean run
beside it does not.
"""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from quintain.core.errors import MechanismError, PrivacyError
from quintain.dp import PoissonLoader, PrivacyEngine, PrivatePlan, mechanism_tests, verify_mechanism
from quintain.results.specification import Measurement
from quintain.testing import TRAINING_BUGS
from quintain.testing.training_bugs import sample_never_empty

PLAN = PrivatePlan(
    noise_multiplier=1.5, max_grad_norm=0.7, expected_batch_size=32, steps=250, learning_rate=0.1
)

TOLD = {
    "_noise": {
        *("standard deviation", "Gaussian", "two steps", "two layers"),
        *("with itself 65536", "with itself 134998", "beyond 4 deviations", "all but equal"),
    },
    "_inclusion": {"spread of batch sizes", "how often a record is drawn", "mean size"},
    "_sensitivity": {"moves the sum"},
}
"""Which part of the specification tells of which departure."""


def measured_alone(monkeypatch, part):
    """Leave out the parts of the specification that a fault is not to be told by, which cost time."""
    for other in TOLD.keys() - {part}:
        nothing = Measurement(other, 0.0, 0.0, 1.0, "left out")
        monkeypatch.setattr(
            mechanism_tests, other, lambda *_, found=nothing if other == "_sensitivity" else (): found
        )


@pytest.mark.exhaustive
def test_the_engine_as_it_is_meets_its_specification(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the trainer that most of these faults are looked for in; ``test_dp`` has all trainers, from fresh
    entropy each time.
    """
    monkeypatch.setattr(mechanism_tests, "TRAINERS", {"fit": mechanism_tests.TRAINERS["fit"]})
    assert verify_mechanism(PLAN, 400, seed=0).raise_if_failed().passed


COARSER = {
    *("skipped clipping", "halved noise", "no noise", "words of 16 bits"),
    *("noise 20 % short", "noise 5 % short", "noise not scaled by the clip norm"),
}
"""Faults of which a finer one of the same place is in the list too, and is told."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.exhaustive if name in COARSER else ()) for name in TRAINING_BUGS],
)
def test_a_broken_engine_fails_its_specification(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bug = TRAINING_BUGS[name]
    trainer = "loop" if name in ("no noise in a loop", "no clipping of means") else "fit"
    monkeypatch.setattr(mechanism_tests, "TRAINERS", {trainer: mechanism_tests.TRAINERS[trainer]})
    measured_alone(monkeypatch, next(part for part, words in TOLD.items() if bug.alarm in words))
    # Of the 200 batches that are measured, these are enough to tell each fault of how they are drawn.
    monkeypatch.setattr(mechanism_tests, "BATCHES", 50)
    with bug.planted(), pytest.raises(MechanismError, match=bug.alarm):
        verify_mechanism(PLAN, 400, seed=0).raise_if_failed()


def test_empty_batches_drawn_again_fail_the_specification(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = PrivatePlan(1.0, 1.0, 1, 2000, 0.1)
    monkeypatch.setattr(mechanism_tests, "TRAINERS", {"fit": mechanism_tests.TRAINERS["fit"]})
    measured_alone(monkeypatch, "_inclusion")
    assert verify_mechanism(plan, 50, seed=0).raise_if_failed().passed
    monkeypatch.setattr("quintain.dp.randomness.stream.RandomStream.poisson_sample", sample_never_empty)
    with pytest.raises(MechanismError, match="mean size"):
        verify_mechanism(plan, 50, seed=0).raise_if_failed()


@pytest.mark.parametrize(
    ("norm", "message"),
    [(nn.GroupNorm(2, 4), None), (nn.BatchNorm1d(4), "mixes the examples of a batch: use GroupNorm")],
)
def test_batch_norm_is_refused_and_group_norm_is_not(norm: nn.Module, message: str | None) -> None:
    net = nn.Sequential(nn.Linear(3, 4), norm, nn.Linear(4, 2))
    settings = {
        "module": net,
        "optimizer": torch.optim.SGD(net.parameters(), lr=0.1),
        "data_loader": DataLoader(TensorDataset(torch.zeros(4, 3)), batch_size=2),
    }
    if message is None:
        assert isinstance(PrivacyEngine().make_private(**settings)[2], PoissonLoader)
    else:
        with pytest.raises(PrivacyError, match=message):
            PrivacyEngine().make_private(**settings)
