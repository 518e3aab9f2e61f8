"""Noise that sites share: exact norms, sums that never wrap, and the epsilon of what is left of it."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from quintain.core.errors import DataError, SettingError
from quintain.dp.accounting.distributed_gaussian import distributed_gaussian_rdp
from quintain.dp.accounting.gaussian import gaussian_epsilon
from quintain.dp.accounting.rdp import epsilon_from_rdp
from quintain.dp.randomness.stream import RandomStream
from quintain.federated.noise import DistributedNoise, squared_norm
from quintain.federated.secagg.encoding import WORD_DTYPE

integers = st.integers(-(2**32) + 1, 2**32 - 1)


@given(st.lists(integers, min_size=1, max_size=50))
def test_the_norm_is_exact(values: list[int]) -> None:
    assert squared_norm(np.array(values, np.int64)) == sum(value * value for value in values)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    length=st.integers(1, 300),
    clip_norm=st.floats(1e-3, 1e3),
    size=st.sampled_from([1e-300, 1e-6, 1.0, 1e6, 1e200]),
    noise_multiplier=st.floats(0.5, 8),
)
def test_no_rounded_vector_is_longer_than_the_sensitivity(
    seed: int, length: int, clip_norm: float, size: float, noise_multiplier: float
) -> None:
    noise = DistributedNoise(length, clip_norm, noise_multiplier, num_sites=5)
    vector = size * np.random.default_rng(seed).normal(size=length)
    rounded = noise._round_at_random(vector, RandomStream.from_seed(seed))
    assert squared_norm(rounded) <= noise.sensitivity**2
    exact = vector * min(
        1.0, clip_norm / max(abs(vector).max() * np.linalg.norm(vector / abs(vector).max()), 1e-320)
    )
    np.testing.assert_allclose(rounded / noise.scale, exact, atol=1.01 / noise.scale, rtol=1e-8)


def test_rounding_is_unbiased() -> None:
    noise = DistributedNoise(2, 1.0, 1.0, num_sites=3)
    object.__setattr__(noise, "scale", 4)
    stream = RandomStream.from_seed(7)
    rounded = np.array([noise._round_at_random(np.array([0.3, -0.1]), stream) for _ in range(4000)])
    # the grid has steps of 1/4, and no rounding of these two is too long
    assert set(rounded[:, 0]) == {1, 2}
    np.testing.assert_allclose(rounded.mean(0), [1.2, -0.4], atol=5 * 0.5 / math.sqrt(4000))


@pytest.mark.parametrize("num_sites", [2, 3, 8, 100, 1000])
@pytest.mark.parametrize("noise_multiplier", [0.3, 1.0, 10.0])
def test_no_sum_of_noisy_vectors_wraps(num_sites: int, noise_multiplier: float) -> None:
    noise = DistributedNoise(1000, 1.0, noise_multiplier, num_sites, max_corrupt=1)
    most = num_sites * noise.sensitivity + 12 * math.sqrt(num_sites * noise.variance)
    assert most < 2**31
    assert num_sites * noise.encoding.max_abs >= most - num_sites
    # and the grid is the finest: one bit more would wrap, or the sampler would not cover the share
    finer = 2 * most >= 2**31 or noise._variance(2 * noise.scale) > 203_036_000_000_000
    assert finer


def test_the_sum_of_shares_has_the_spread_that_is_accounted_for() -> None:
    noise = DistributedNoise(20_000, 1.0, 2.0, num_sites=5, max_dropped=1, max_corrupt=1)
    streams = [RandomStream.from_seed(site) for site in range(5)]
    words = sum(noise.encode(np.zeros(20_000), stream).astype(np.int64) for stream in streams[:4])
    total = noise.encoding.to_signed(words.astype(WORD_DTYPE)).astype(float)
    # four survivors; three of them honest have the whole of z times the sensitivity between them
    assert noise.variance * 3 == pytest.approx((2.0 * noise.sensitivity) ** 2, rel=1e-6)
    scaled = total / math.sqrt(4 * noise.variance)
    assert stats.kstest(scaled, "norm").pvalue > 1e-6


def test_the_sum_is_the_sum_of_the_clipped_vectors_but_for_the_noise() -> None:
    noise = DistributedNoise(50, 2.0, 1e-3, num_sites=3)
    vectors = np.random.default_rng(3).normal(size=(3, 50))
    clipped = vectors * np.minimum(1, 2.0 / np.linalg.norm(vectors, axis=1, keepdims=True))
    words = np.sum([noise.encode(vector).astype(np.int64) for vector in vectors], axis=0).astype(WORD_DTYPE)
    total = noise.encoding.decode(noise.encoding.to_signed(words))
    np.testing.assert_allclose(total, clipped.sum(0), atol=0.02)


@pytest.mark.parametrize("rounds", [1, 20])
def test_epsilon_is_above_that_of_the_gaussian_and_close_to_it(rounds: int) -> None:
    noise = DistributedNoise(10_000, 1.0, 4.0, num_sites=60, max_dropped=10, max_corrupt=3)
    exact = gaussian_epsilon(4.0 / math.sqrt(rounds), 1e-5)
    told = noise.guarantee([50] * rounds, 1e-5)
    assert exact <= told.epsilon <= 1.15 * exact
    assert told.unit == "client"
    assert told.steps == rounds
    # more survivors, more noise
    assert noise.guarantee([60] * rounds, 1e-5).epsilon < told.epsilon
    assert "blanking one client out" in told.text


def test_sites_that_side_with_the_server_cost_noise_and_not_epsilon() -> None:
    planned = [DistributedNoise(100, 1.0, 1.0, 10, max_corrupt=corrupt) for corrupt in (0, 1, 5)]
    told = [noise.guarantee([10], 1e-5).epsilon for noise in planned]
    assert told == pytest.approx([told[0]] * 3, rel=0.01)
    variances = [noise.variance / noise.scale**2 for noise in planned]
    assert variances == pytest.approx([1 / 9, 1 / 9, 1 / 5], rel=0.01)
    assert planned[2].relative_noise(10) > planned[0].relative_noise(10)
    assert planned[0].relative_noise(5) == 2 * planned[0].relative_noise(10)


@pytest.mark.parametrize("num_sites", [2, 4, 10])
def test_a_site_that_sides_with_nobody_knows_its_own_share_all_the_same(num_sites: int) -> None:
    noise = DistributedNoise(100, 1.0, 2.0, num_sites, max_corrupt=0)
    assert noise.num_honest == num_sites - 1
    # to another site the sum has the noise of all shares but its own
    left = distributed_gaussian_rdp(num_sites - 1, noise.variance, noise.sensitivity, noise.length)
    for rounds in (1, 2):
        against_a_site = epsilon_from_rdp(rounds * left, 1e-5)
        assert noise.guarantee([num_sites] * rounds, 1e-5).epsilon >= against_a_site
    assert noise.variance * (num_sites - 1) >= (2.0 * noise.sensitivity) ** 2


def test_noise_that_one_of_two_sites_alone_adds_is_none_to_that_one() -> None:
    with pytest.raises(SettingError, match="one always knows its own share; expected at least one other"):
        DistributedNoise(100, 1.0, 2.0, num_sites=2, max_dropped=1, max_corrupt=0)


def test_a_sum_of_too_few_sites_has_no_guarantee() -> None:
    noise = DistributedNoise(10, 1.0, 1.0, num_sites=8, max_dropped=2)
    assert noise.min_survivors == 6
    with pytest.raises(SettingError, match="a sum of 5 sites; expected at least 6"):
        noise.guarantee([8, 5], 1e-5)


@pytest.mark.parametrize(
    ("settings_", "reason"),
    [
        ({"clip_norm": 0.0}, "expected positive finite numbers"),
        ({"clip_norm": math.nan}, "expected positive finite numbers"),
        ({"noise_multiplier": -1.0}, "expected positive finite numbers"),
        ({"max_dropped": 4}, "expected at least one other"),
        ({"max_corrupt": -1}, "expected at least one other"),
        ({"clip_norm": 1e12}, "fit no grid"),
        ({"num_sites": 2.5}, "expected an integer"),
    ],
)
def test_settings_that_cannot_hold_are_refused(settings_: dict[str, float], reason: str) -> None:
    given_ = {"length": 10, "clip_norm": 1.0, "noise_multiplier": 1.0, "num_sites": 5} | settings_
    with pytest.raises(SettingError, match=reason):
        DistributedNoise(**given_)


def test_a_vector_that_is_not_finite_is_refused() -> None:
    noise = DistributedNoise(2, 1.0, 1.0, num_sites=3)
    for vector in ([1.0, math.nan], [1.0, 2.0, 3.0]):
        with pytest.raises(DataError, match="expected \\(2,\\) finite numbers"):
            noise.encode(np.array(vector))
