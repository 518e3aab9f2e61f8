"""Laws of private training, over every layer that has a rule and everything registered."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from quintain.core.registry import entries
from quintain.data import from_arrays
from quintain.dp import PrivatePlan, PrivateTrainingResult, verify_mechanism
from quintain.dp.mechanism_tests import MechanismTests, measurements
from quintain.dp.observed_training import TRAINERS
from quintain.dp.opacus.layers import SequenceBias
from quintain.dp.rules import EXAMPLES, RULES, register_rule, registry
from quintain.results.specification import bonferroni_tests
from quintain.testing import check_record_bounded, check_rule


class Pairs(nn.Module):
    """A bilinear layer on a picture and itself."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Bilinear(16, 16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x.flatten(1), x.flatten(1).flip(1))


class Rows(nn.Module):
    """A layer of sequences, on the rows of a picture."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(1, 2)
        out, _ = self.layer(x, x, x) if isinstance(self.layer, nn.MultiheadAttention) else self.layer(x)
        return out.flatten(1)


SAMPLES = {
    nn.Linear: lambda: (nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), torch.float64),
    nn.Conv1d: lambda: (nn.Sequential(nn.Flatten(1, 2), nn.Conv1d(4, 3, 2), nn.Flatten()), torch.float64),
    nn.Conv3d: lambda: (
        nn.Sequential(nn.Unflatten(1, (1, 1)), nn.Conv3d(1, 3, (1, 4, 4)), nn.Flatten()),
        torch.float64,
    ),
    nn.Conv2d: lambda: (nn.Sequential(nn.Conv2d(1, 3, 4), nn.Flatten()), torch.float64),
    nn.GroupNorm: lambda: (
        nn.Sequential(
            nn.Flatten(), nn.Unflatten(1, (4, 4)), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(16, 3)
        ),
        torch.float64,
    ),
    nn.LayerNorm: lambda: (nn.Sequential(nn.Flatten(), nn.LayerNorm(16), nn.Linear(16, 3)), torch.float64),
    nn.Embedding: lambda: (
        nn.Sequential(nn.Flatten(), nn.Embedding(7, 3), nn.Flatten(), nn.Linear(48, 3)),
        torch.long,
    ),
    nn.EmbeddingBag: lambda: (
        nn.Sequential(nn.Flatten(), nn.EmbeddingBag(7, 3, mode="max"), nn.Linear(3, 3)),
        torch.long,
    ),
    nn.ConvTranspose1d: lambda: (
        nn.Sequential(nn.Flatten(2), nn.ConvTranspose1d(1, 2, 3, 2), nn.Flatten(), nn.Linear(66, 3)),
        torch.float64,
    ),
    nn.ConvTranspose2d: lambda: (
        nn.Sequential(nn.ConvTranspose2d(1, 2, 2, 2), nn.Flatten(), nn.Linear(128, 3)),
        torch.float64,
    ),
    nn.ConvTranspose3d: lambda: (
        nn.Sequential(nn.Unflatten(1, (1, 1)), nn.ConvTranspose3d(1, 2, 2), nn.Flatten(), nn.Linear(100, 3)),
        torch.float64,
    ),
    nn.InstanceNorm1d: lambda: (
        nn.Sequential(nn.Flatten(1, 2), nn.InstanceNorm1d(4, affine=True), nn.Flatten()),
        torch.float64,
    ),
    nn.InstanceNorm2d: lambda: (
        nn.Sequential(nn.InstanceNorm2d(1, affine=True), nn.Flatten()),
        torch.float64,
    ),
    nn.InstanceNorm3d: lambda: (
        nn.Sequential(nn.Unflatten(1, (1, 1)), nn.InstanceNorm3d(1, affine=True), nn.Flatten()),
        torch.float64,
    ),
    nn.RMSNorm: lambda: (nn.Sequential(nn.Flatten(), nn.RMSNorm(16), nn.Linear(16, 3)), torch.float64),
    nn.PReLU: lambda: (nn.Sequential(nn.Flatten(), nn.PReLU(), nn.Linear(16, 3)), torch.float64),
    SequenceBias: lambda: (
        nn.Sequential(nn.Flatten(1, 2), SequenceBias(4, batch_first=True), nn.Flatten(), nn.Linear(20, 3)),
        torch.float64,
    ),
    nn.Bilinear: lambda: (Pairs(), torch.float64),
    nn.MultiheadAttention: lambda: (Rows(nn.MultiheadAttention(4, 2, batch_first=True)), torch.float64),
    nn.LSTM: lambda: (Rows(nn.LSTM(4, 4, batch_first=True)), torch.float64),
    nn.GRU: lambda: (Rows(nn.GRU(4, 4, batch_first=True)), torch.float64),
    nn.RNN: lambda: (Rows(nn.RNN(4, 4, batch_first=True)), torch.float64),
    NonDynamicallyQuantizableLinear: lambda: (
        nn.Sequential(nn.Flatten(), NonDynamicallyQuantizableLinear(16, 3)),
        torch.float64,
    ),
}

PLAN = PrivatePlan(
    noise_multiplier=1.5, max_grad_norm=0.7, expected_batch_size=32, steps=200, learning_rate=0.1
)


def sample(kind: type[nn.Module]) -> tuple[nn.Module, torch.dtype]:
    """A net with a layer of a kind, and the type of its inputs; of a rule that comes with one, its own."""
    return (EXAMPLES[kind](), torch.float64) if kind in EXAMPLES else SAMPLES[kind]()


def test_every_rule_has_a_sample() -> None:
    assert {*SAMPLES, *EXAMPLES} == set(RULES)


every_kind = pytest.mark.parametrize("kind", RULES, ids=lambda kind: kind.__name__)
any_records = given(
    scale=st.sampled_from([1e-6, 1.0, 1e4, 1e9]),
    bound=st.sampled_from([0.01, 1.0, 100.0]),
    left=st.integers(0, 4),
    seed=st.integers(0, 99),
)


def bounded(kind: type[nn.Module], scale: float, bound: float, left: int, seed: int) -> None:
    """What the other records add is the same without it, but for rounding: at a scale of 1e9 a softmax is all
    or nothing, its gradient cancels to the last digits, and those follow how large the batch is.
    """
    net, dtype = sample(kind)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(5, 1, 4, 4, generator=generator, dtype=torch.float64) * scale
    x = x.abs().long() % 7 if dtype is torch.long else x
    y = torch.randint(0, 3, (5,), generator=generator)
    check_record_bounded(net, x, y, bound=bound, left_out=left, exact=scale <= 1e4)


@every_kind
@settings(max_examples=4, deadline=None)
@any_records
def test_no_record_moves_the_sum_by_more_than_the_bound(
    kind: type[nn.Module], scale: float, bound: float, left: int, seed: int
) -> None:
    bounded(kind, scale, bound, left, seed)


@pytest.mark.exhaustive
@every_kind
@settings(max_examples=16, deadline=None)
@any_records
def test_no_record_of_many_more_moves_the_sum_by_more_than_the_bound(
    kind: type[nn.Module], scale: float, bound: float, left: int, seed: int
) -> None:
    bounded(kind, scale, bound, left, seed)


@every_kind
def test_a_third_party_can_check_all_of_it_at_once(kind: type[nn.Module]) -> None:
    net, dtype = sample(kind)
    words = torch.arange(80).view(5, 1, 4, 4) % 7
    check_rule(net, words if dtype is torch.long else None)


class Scale(nn.Module):
    """A layer of one's own: each feature times a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight


@pytest.mark.parametrize("factor", [1.0, 0.5, 2.0])
def test_a_rule_of_ones_own_is_checked_and_a_wrong_one_is_named(
    factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry._RULES, Scale, None)
    register_rule(Scale)(lambda layer, a, g: {"weight": factor * a * g})
    net = nn.Sequential(nn.Flatten(), Scale(), nn.Linear(16, 3))
    if factor == 1:
        check_rule(net)
        return
    with pytest.raises(
        AssertionError, match=r"of Linear, Scale does not keep\n- .* the gradient of record 0 alone"
    ):
        check_rule(net)


PLANS = {
    "single records": PrivatePlan(0.3, 5.0, 1, 300, 0.1),
    "everything": PrivatePlan(2.0, 1.0, 400, 5, 0.1),
    "no noise": PrivatePlan(0.0, 1.0, 10, 50, 0.1),
    "no bound": PrivatePlan(0.0, math.inf, 10, 50, 0.1),
}
BY = [
    pytest.param(name, trainer, marks=() if (k + j) % 2 else pytest.mark.exhaustive)
    for k, name in enumerate(PLANS)
    for j, trainer in enumerate(TRAINERS)
]
"""Plans by the trainers in turn: each of them by one trainer, each trainer with two."""


@pytest.mark.parametrize(("name", "trainer"), BY)
def test_a_trainer_does_what_any_plan_states(name: str, trainer: str) -> None:
    measured = MechanismTests(bonferroni_tests(measurements(PLANS[name], 400, seed=0, trainers=[trainer])))
    assert measured.raise_if_failed() is measured
    assert measured.passed
    assert all(test.p_value >= 1e-6 for test in measured.tests)


def test_the_engine_does_what_the_usual_plan_states_from_fresh_entropy() -> None:
    """By both ways: the control of the mutation tests."""
    measured = verify_mechanism(PLAN, 400)
    assert measured.raise_if_failed() is measured
    assert all(test.p_value >= 1e-6 for test in measured.tests)


@pytest.mark.parametrize("name", entries("mechanism"))
def test_everything_registered_trains_in_place_and_says_what_it_spent(name: str) -> None:
    train = entries("mechanism")[name].load()
    data = from_arrays(np.zeros((60, 4, 4), dtype=np.float32), np.arange(60) % 2, name="zeros")
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    before = net[1].weight.detach().clone()
    plan = PrivatePlan(2.0, 1.0, 10, 5, 0.1)
    result = train(net, data, plan, seed=0)
    assert isinstance(result, PrivateTrainingResult)
    assert result.epsilon == plan.epsilon(60) > 0
    assert (net[1].weight != before).all()
