"""Secure noise: the discrete Gaussian's exact law, and sums of whole numbers that one record moves by no more
than the bound.
"""

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn

from quintain.core.errors import PrivacyError, SettingError
from quintain.dp.per_example.grads import DenseGrads
from quintain.dp.randomness import discrete_gaussian as sampler
from quintain.dp.randomness.discrete_gaussian import discrete_gaussian
from quintain.dp.randomness.stream import RandomStream
from quintain.dp.step.discrete_sum import DiscreteClippedSum

SMALL = 11
"""A variance at which every number can be counted."""


def parameters(*shapes: tuple[int, ...], dtype: torch.dtype = torch.float32) -> list[nn.Parameter]:
    return [nn.Parameter(torch.zeros(shape, dtype=dtype)) for shape in shapes]


def clipped(rows: Tensor, bound: float) -> Tensor:
    """Factors that bring rows down to a bound."""
    norms = rows.flatten(1).double().norm(dim=1)
    return (bound / norms).clamp(max=1)


@pytest.mark.parametrize("variance", [1, 2, 3, SMALL, 12, 100])
def test_small_numbers_follow_the_exact_law(variance: int) -> None:
    drawn = discrete_gaussian(200_000, RandomStream.from_seed(1), variance)
    widest = math.ceil(3.3 * math.sqrt(variance))
    x = np.arange(-widest, widest + 1)
    law = np.exp(-(np.arange(-200, 201) ** 2) / (2 * variance))
    expected = np.exp(-(x**2) / (2 * variance)) / law.sum() * len(drawn)
    expected = np.append(expected, len(drawn) - expected.sum())
    counts = np.append([(drawn == value).sum() for value in x], (np.abs(drawn) > widest).sum())
    assert stats.chisquare(counts, expected, sum_check=False).pvalue > 1e-6


def test_a_proposal_counted_twice_at_zero_would_be_seen() -> None:
    drawn = discrete_gaussian(200_000, RandomStream.from_seed(1), SMALL)
    doubled = 2 / (np.exp(-(np.arange(-200, 201) ** 2) / (2 * SMALL)).sum() + 1)
    assert abs((drawn == 0).mean() - doubled) > 20 * math.sqrt(0.1 / len(drawn))


def test_large_numbers_have_the_variance_the_shape_and_even_low_bits() -> None:
    drawn = discrete_gaussian(200_000, RandomStream.from_seed(2))
    scaled = drawn / math.sqrt(sampler.VARIANCE)
    assert stats.kstest(scaled, "norm").pvalue > 1e-6
    assert abs(float((scaled**2).mean()) - 1) < 5 * math.sqrt(2 / len(drawn))
    assert stats.chisquare(np.bincount(drawn % 16, minlength=16)).pvalue > 1e-6
    assert abs(float(np.corrcoef(scaled[1:], scaled[:-1])[0, 1])) < 5 / math.sqrt(len(drawn))


def test_each_turn_has_its_own_numbers_and_the_same_again() -> None:
    stream = RandomStream.from_seed(3)
    stream.seek(4)
    first, second = discrete_gaussian(1000, stream), discrete_gaussian(1000, stream)
    stream.seek(4)
    assert (discrete_gaussian(1000, stream) == first).all()
    assert (first != second).any()
    assert len(discrete_gaussian(0, stream)) == 0


def test_what_floating_point_cannot_decide_is_decided_digit_by_digit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sampler, "RELATIVE_ERROR", 1.0)
    drawn = discrete_gaussian(4000, RandomStream.from_seed(4), SMALL)
    assert abs(float((drawn.astype(float) ** 2).mean()) / SMALL - 1) < 5 * math.sqrt(2 / len(drawn))


def test_digits_are_drawn_until_they_decide() -> None:
    stream = RandomStream.from_seed(5)
    x = 10_000_000
    bar = math.exp(-x * x / (2 * sampler.VARIANCE))
    assert sampler._uniform_is_below(int(bar * 2**64 * (1 - 1e-12)), 0, x, stream, sampler.VARIANCE)
    assert not sampler._uniform_is_below(int(bar * 2**64 * (1 + 1e-12)), 0, x, stream, sampler.VARIANCE)
    with localcontext() as context:
        context.prec = 80
        exact = (Decimal(-x * x) / (2 * sampler.VARIANCE)).exp() * 2**64
    below = [sampler._uniform_is_below(int(exact), 0, x, stream, sampler.VARIANCE) for _ in range(400)]
    assert sum(below) / 400 == pytest.approx(float(exact % 1), abs=5 * 0.5 / 20)


@given(variance=st.integers(1, sampler.VARIANCE))
def test_acceptance_probabilities_are_probabilities(variance: int) -> None:
    length = 2 ** sampler._offset_bits(variance)
    blocks = np.arange(31)
    logs = blocks * math.log(2) - (blocks.astype(float) * length) ** 2 / (2 * variance)
    assert length**2 / (2 * math.log(2)) >= variance
    assert (logs <= 0).all()


@pytest.mark.parametrize("variance", [0, -1, sampler.VARIANCE + 1])
def test_a_variance_that_the_sampler_does_not_cover_is_refused(variance: int) -> None:
    with pytest.raises(SettingError, match="expected an integer from 1 to"):
        discrete_gaussian(3, RandomStream.from_seed(1), variance)


def released(
    sums: DiscreteClippedSum, by: int, stream: RandomStream | None = None
) -> dict[torch.nn.Parameter, torch.Tensor]:
    sums.add_noise(stream, 1.0, by)
    return sums.to_gradients()


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    batch=st.integers(1, 5),
    power=st.sampled_from([-30, -3, 0, 3, 30]),
    sigma=st.floats(0.25, 50),
    bound=st.floats(1e-3, 1e3),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_one_record_moves_the_sum_by_no_more_than_the_bound(
    seed: int, batch: int, power: int, sigma: float, bound: float, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(seed)
    held = parameters((3, 4), (5,), dtype=dtype)
    rows = [torch.randn(batch, *p.shape, generator=generator, dtype=dtype) * 10.0**power for p in held]
    factors = clipped(torch.cat([row.flatten(1) for row in rows], 1), bound)
    sums = DiscreteClippedSum(held, noise_multiplier=sigma, sensitivity=bound)
    assert sums.max_grid_norm * sigma <= math.sqrt(sampler.VARIANCE)
    left_out = sums.add({p: DenseGrads(row) for p, row in zip(held, rows, strict=True)}, [factors, factors])
    assert not left_out.any()
    whole = sums.flat.clone()
    sums.clear()
    sums.add(
        {p: DenseGrads(row[:-1]) for p, row in zip(held, rows, strict=True)}, [factors[:-1], factors[:-1]]
    )
    assert sum(int(moved) ** 2 for moved in whole - sums.flat) <= sums.max_grid_norm**2


def test_sums_are_those_of_floating_point_to_the_grid() -> None:
    held = parameters((20, 30), (7,), dtype=torch.float64)
    rows = [torch.randn(9, *p.shape, dtype=torch.float64) for p in held]
    factors = clipped(torch.cat([row.flatten(1) for row in rows], 1), 1.5)
    sums = DiscreteClippedSum(held, noise_multiplier=1.1, sensitivity=1.5)
    sums.add({p: DenseGrads(row) for p, row in zip(held, rows, strict=True)}, [factors, factors])
    for p, row in zip(held, rows, strict=True):
        exact = torch.einsum("b,b...->...", factors, row) / 9
        assert (released(sums, 9)[p] - exact).abs().max() <= sums.grid_step
    assert sums.grid_step < 1.5 * 1.1 * 1e-6


def test_gradients_longer_than_they_were_said_to_be_add_nothing() -> None:
    held = parameters((4,))
    sums = DiscreteClippedSum(held, noise_multiplier=1.0, sensitivity=1.0)
    rows = torch.tensor(
        [
            [2.0, 0, 0, 0],
            [0.5, 0, 0, 0],
            [math.nan, 0, 0, 0],
            [math.inf, 0, 0, 0],
            [1e30, -1e30, 0, 0],
            [-0.0, -0.0, 0, 0],
        ]
    )
    left_out = sums.add({held[0]: DenseGrads(rows)}, [torch.ones(6, dtype=torch.float64)])
    assert left_out.tolist() == [True, False, True, True, True, False]
    assert released(sums, 1)[held[0]].tolist() == pytest.approx([0.5, 0, 0, 0], abs=1e-6)
    assert not torch.signbit(released(sums, 1)[held[0]]).any()


def test_the_sum_does_not_depend_on_order() -> None:
    held = parameters((50,))
    rows = torch.randn(64, 50) * torch.logspace(-6, 3, 64)[:, None]
    factors = clipped(rows, 1.0)
    found = []
    for order in (torch.arange(64), torch.randperm(64)):
        sums = DiscreteClippedSum(held, noise_multiplier=1.0, sensitivity=1.0)
        sums.add({held[0]: DenseGrads(rows[order])}, [factors[order]])
        found.append(sums.flat)
    assert torch.equal(*found)


def test_an_empty_batch_and_an_unused_parameter_get_noise_of_the_right_size() -> None:
    held = parameters((300, 400), (10,))
    sums = DiscreteClippedSum(held, noise_multiplier=1.3, sensitivity=0.7)
    sums.add({held[1]: DenseGrads(torch.zeros(0, 10))}, [torch.zeros(0, dtype=torch.float64)] * 2)
    assert not sums.flat.any()
    means = released(sums, 1, RandomStream.from_seed(6))
    noise = means[held[0]].double()
    assert abs(float(noise.square().mean()) / (1.3 * 0.7) ** 2 - 1) < 5 * math.sqrt(2 / noise.numel())
    assert means[held[1]].all()
    sums.clear()
    assert not sums.flat.any()


def test_what_is_released_is_whole_multiples_of_the_grid() -> None:
    held = parameters((100,), dtype=torch.float64)
    sums = DiscreteClippedSum(held, noise_multiplier=2.0, sensitivity=1.0)
    sums.add(
        {held[0]: DenseGrads(torch.randn(3, 100, dtype=torch.float64) / 100)},
        [torch.ones(3, dtype=torch.float64)],
    )
    steps = released(sums, 1, RandomStream.from_seed(7))[held[0]] / sums.grid_step
    assert (steps - steps.round()).abs().max() < 1e-6
    assert sums.flat.dtype == torch.int64


@pytest.mark.parametrize(
    ("sigma", "bound"), [(0.1, 1.0), (math.inf, 1.0), (math.nan, 1.0), (1.0, math.inf), (1.0, 0.0)]
)
def test_settings_out_of_range_are_refused(sigma: float, bound: float) -> None:
    with pytest.raises(SettingError, match="expected at least"):
        DiscreteClippedSum(parameters((2,)), noise_multiplier=sigma, sensitivity=bound)


def test_a_grid_too_coarse_for_the_parameters_is_refused() -> None:
    with pytest.raises(SettingError, match="half the signal"):
        DiscreteClippedSum(parameters((1000,)), noise_multiplier=5e5, sensitivity=1.0)
    with pytest.raises(PrivacyError, match="one device"):
        DiscreteClippedSum(
            [*parameters((2,)), nn.Parameter(torch.zeros(2, device="meta"))],
            noise_multiplier=1.0,
            sensitivity=1.0,
        )
