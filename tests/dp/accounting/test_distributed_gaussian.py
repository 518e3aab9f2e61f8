"""Renyi divergences of sums of discrete Gaussians, against exact convolutions and the Gaussian."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quintain.core.errors import SettingError
from quintain.dp.accounting.distributed_gaussian import distributed_gaussian_rdp
from quintain.dp.accounting.rdp import ORDERS, epsilon_from_rdp, poisson_gaussian_rdp


def exact_divergence(shares: int, variance: float, shift: int, order: int) -> float:
    """Renyi divergence between a sum of discrete Gaussians and the same, shifted: by convolution."""
    width = math.ceil(28 * math.sqrt(variance))
    share = np.exp(-(np.arange(-width, width + 1) ** 2) / (2 * variance))
    total = np.ones(1)
    for _ in range(shares):
        total = np.convolve(total, share / share.sum())
    p, q = total[shift:], total[: len(total) - shift]
    kept = (p > 1e-300) & (q > 1e-300)
    logs = order * np.log(p[kept]) - (order - 1) * np.log(q[kept])
    return float(np.logaddexp.reduce(logs)) / (order - 1)


@pytest.mark.parametrize("variance", [0.5, 0.7, 1.0, 4.0])
@pytest.mark.parametrize("shares", [1, 2, 5])
@pytest.mark.parametrize("shift", [1, 3])
def test_the_bound_is_above_the_exact_divergence_of_a_small_sum(
    shares: int, variance: float, shift: int
) -> None:
    bounds = distributed_gaussian_rdp(shares, variance, shift, 1)
    for order in (2, 3, 5, 8):
        exact = exact_divergence(shares, variance, shift, order)
        assert exact <= bounds[ORDERS.index(order)] + 1e-9


@given(shares=st.integers(1, 50), sigma=st.floats(0.3, 20), length=st.integers(1, 10**7))
def test_fine_shares_are_as_good_as_the_gaussian(shares: int, sigma: float, length: int) -> None:
    sensitivity = 1e6
    variance = (sigma * sensitivity) ** 2 / shares
    bound = distributed_gaussian_rdp(shares, variance, sensitivity, length)
    np.testing.assert_allclose(bound, poisson_gaussian_rdp(sigma, 1.0), rtol=1e-12)


@pytest.mark.parametrize(
    ("shares", "scale", "length", "noise_multiplier", "rounds", "epsilon"),
    [(64, 2**4, 4096, 1, 1, 12.583), (64, 2**6, 4096, 2, 10, 9.455), (5, 2**10, 10**6, 1, 1, 5.352)],
)
def test_epsilons_worked_out_by_hand(
    shares: int, scale: int, length: int, noise_multiplier: float, rounds: int, epsilon: float
) -> None:
    rounded_norm = math.sqrt(scale**2 + length / 4 + scale + math.sqrt(length) / 2)
    variance = (noise_multiplier * scale) ** 2 / shares
    divergences = rounds * distributed_gaussian_rdp(shares, variance, rounded_norm, length)
    assert epsilon_from_rdp(divergences, 1e-5) == pytest.approx(epsilon, abs=2e-3)


@pytest.mark.parametrize(("shares", "variance"), [(0, 4.0), (3, 0.4)])
def test_no_share_or_one_too_small_is_refused(shares: int, variance: float) -> None:
    with pytest.raises(SettingError, match="expected at least one, of"):
        distributed_gaussian_rdp(shares, variance, 1, 1)
