import math
from fractions import Fraction
from random import Random

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from quintain.core.errors import DataError, ProtocolError, SettingError
from quintain.federated.aggregate import secure_sum
from quintain.federated.secagg.encoding import (
    COARSE_BELOW,
    HALF_MODULUS,
    WORD_DTYPE,
    Encoding,
    finest_encoding,
)

finite = st.floats(-4, 4, allow_nan=False)


@settings(deadline=None, max_examples=50)
@given(
    vectors=st.lists(st.lists(finite, min_size=3, max_size=3), min_size=2, max_size=6),
    scale=st.integers(COARSE_BELOW // 2, 10**6),
)
def test_a_sum_of_words_is_the_sum_of_the_rounded_numbers(vectors, scale):
    encoding = Encoding(3, 2.0, scale, len(vectors))
    total = np.zeros(3, WORD_DTYPE)
    for vector in vectors:
        total += encoding.quantize(vector)
    expected = [
        sum(round(Fraction(float(np.float64(max(-2.0, min(2.0, v))) * scale))) for v in column)
        for column in zip(*vectors, strict=True)
    ]
    assert encoding.to_signed(total).tolist() == expected


# -- coarse grids


@given(clip=st.floats(0.01, 100), scale=st.integers(1, 10**5))
def test_the_grid_decides_how_entries_are_rounded(clip, scale):
    assume(1 <= round(clip * scale) < HALF_MODULUS // 2)
    encoding = Encoding(1, clip, scale, 2)
    assert encoding.is_coarse == (encoding.max_abs < 2**8)
    words = {int(encoding.to_signed(encoding.quantize([0.3 * clip]))[0]) for _ in range(200)}
    exact = 0.3 * encoding.clip_value * scale
    if encoding.is_coarse:
        assert words <= {math.floor(exact), math.ceil(exact)}
        assert len(words) == 2 or not 0.2 < exact % 1 < 0.8  # a miss: 0.8^200 < 10^-19
    else:
        assert words == {round(exact)}


@pytest.mark.parametrize("value", [0.1, -0.1, 0.375, -0.875, 0.999, 1.0, -1.0, 0.0, 1e-3])
@pytest.mark.parametrize("scale", [1, 3, 100, 255])
def test_entries_on_a_coarse_grid_are_unbiased(value, scale):
    count = 40_000
    encoding = Encoding(count, 1.0, scale, 2)
    words = encoding.to_signed(encoding.quantize(np.full(count, value), entropy=Random(1).randbytes))
    below = math.floor(value * scale)
    assert set(words.tolist()) <= {below, below + 1}
    # rounded up as often as the fraction above the lower step says
    assert binomtest(int((words == below + 1).sum()), count, value * scale - below).pvalue > 1e-6


def test_what_rounding_to_the_nearest_step_loses_is_kept_on_average():
    encoding = Encoding(1000, 1.0, 4, 10)
    step = np.full(1000, 0.05)  # a fifth of a grid step: to the nearest it is nothing
    rng = Random(2)
    total = sum(encoding.to_signed(encoding.quantize(step, entropy=rng.randbytes)) for _ in range(10))
    mean = encoding.decode(total).mean() / 10
    # 10,000 roundings of variance 0.16 steps squared: six standard deviations are 0.006
    assert abs(mean - 0.05) < 0.006


@given(
    data=st.data(),
    clip=st.floats(0.3, 50),
    scale=st.integers(1, 200),
    cap=st.sampled_from([0, 3, 100]),
    sites=st.integers(2, 5),
)
def test_no_rounding_at_random_goes_beyond_the_bounds(data, clip, scale, cap, sites):
    assume(1 <= round(clip * scale) < 2**8)
    encoding = Encoding(40, clip, scale, sites, cap)
    total = np.zeros(encoding.num_words, np.int64)
    for _ in range(sites):
        weight = data.draw(st.integers(0, cap)) if cap else None
        vector = np.array(data.draw(st.lists(st.floats(-2 * clip, 2 * clip), min_size=1, max_size=3)))
        integers = encoding.to_signed(encoding.quantize(np.resize(vector, 40), weight))
        assert np.abs(integers[:40]).max() <= encoding.max_abs
        total += integers
    encoding.check_sum(total, sites)


@given(clip=st.floats(0.3, 50), scale=st.integers(1, 2000), weight=st.floats(0.01, 1))
def test_the_largest_entry_under_a_public_weight_bounds_every_entry(clip, scale, weight):
    assume(round(clip * scale) >= 1)
    encoding = Encoding(50, clip, scale, 2)
    words = encoding.to_signed(encoding.quantize(np.full(50, clip) * weight))
    assert np.abs(words).max() <= encoding.largest_entry(weight) <= encoding.max_abs


def test_a_coarse_round_is_exact_over_the_words_that_the_sites_made():
    vectors = {f"site-{i}": np.linspace(-1, 1, 50) for i in range(4)}
    found = secure_sum(vectors, scale=8)
    assert found.encoding.is_coarse
    assert found.exact
    assert np.abs(found.total - 4 * np.linspace(-1, 1, 50)).max() <= 4 / 8


# -- sums


def test_the_largest_sum_of_either_sign_is_read_back():
    encoding = finest_encoding(1, 1.0, 5)
    assert 5 * encoding.max_abs < HALF_MODULUS <= 5 * 2 * encoding.max_abs
    for sign in (1, -1):
        total = np.zeros(1, WORD_DTYPE)
        for _ in range(5):
            total += encoding.quantize([sign * 7.0])
        assert encoding.to_signed(total)[0] == sign * 5 * encoding.max_abs


def test_weights_travel_inside_and_give_the_weighted_mean():
    encoding = finest_encoding(4, 1.0, 3, max_weight=128)
    rng = np.random.default_rng(0)
    vectors, weights = rng.uniform(-1, 1, (3, 4)), [100, 7, 128]
    total = np.zeros(5, WORD_DTYPE)
    for vector, weight in zip(vectors, weights, strict=True):
        total += encoding.quantize(vector, weight)
    integers = encoding.to_signed(total)
    assert encoding.decode_weight(integers) == sum(weights)
    rounding = 3 / 2 / encoding.scale * 128 / sum(weights)
    assert np.abs(
        encoding.decode(integers) / sum(weights) - np.average(vectors, axis=0, weights=weights)
    ).max() <= rounding * (1 + 1e-6)


@pytest.mark.parametrize("clip", [1e-6, 1e-9, 1e-12])
def test_the_finest_grid_of_tiny_numbers_is_still_exact_and_fits_its_message(clip):
    encoding = finest_encoding(2, clip, 3)
    assert 3 * encoding.max_abs < HALF_MODULUS
    assert encoding.scale <= 2**53
    total = sum(encoding.to_signed(encoding.quantize([clip, -clip])) for _ in range(3))
    assert total.tolist() == [3 * encoding.max_abs, -3 * encoding.max_abs]


@settings(deadline=None, max_examples=200)
@given(clip=st.floats(1e-3, 1e3), parties=st.integers(2, 1000))
@example(clip=1 / 3, parties=384)  # 384 x 5592405.33 steps: what is rounded away decides, it fits
def test_the_finest_grid_is_safe_and_its_double_is_not(clip, parties):
    encoding = finest_encoding(1, clip, parties)
    assert parties * encoding.max_abs < HALF_MODULUS
    assert parties * round(2 * encoding.scale * clip) >= HALF_MODULUS


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_named(value):
    with pytest.raises(DataError, match=r"entry 2 is -?(nan|inf) \(1 of 4"):
        Encoding(4, 1.0, 10, 2).quantize([0, 1, value, 2])


def test_clipped_entries_are_counted():
    assert Encoding(4, 1.0, 10, 2).count_clipped([0.5, 1.0, 1.1, -3]) == 2


@pytest.mark.parametrize(
    "settings",
    [
        {"length": 0},
        {"num_sites": 1},
        {"scale": 0},
        {"max_weight": -1},
        {"clip_value": math.nan},
        {"clip_value": 0.0},
        {"clip_value": -1.0},
        {"scale": 2**29},
        {"max_weight": 2**29},
        {"clip_value": 1e-9},
        {"clip_value": 5e-324},
        {"clip_value": 1e308},
        {"clip_value": 1e-9, "scale": 2**54},
        {"length": 3.0},
        {"scale": 10.5},
        {"num_sites": "4"},
        {"max_weight": True},
        {"clip_value": "1.0"},
        {"clip_value": None},
    ],
)
def test_settings_that_could_wrap_or_say_nothing_are_refused(settings):
    with pytest.raises(SettingError, match="expected"):
        Encoding(**{"length": 3, "clip_value": 1.0, "scale": 10, "num_sites": 4, **settings})


def test_the_edge_of_the_proof():
    assert Encoding(1, 1.0, (HALF_MODULUS - 1) // 3, 3).max_abs == (HALF_MODULUS - 1) // 3
    with pytest.raises(SettingError, match="no sum wraps"):
        Encoding(1, 1.0, (HALF_MODULUS - 1) // 3 + 1, 3)


@pytest.mark.parametrize(
    "vector", [[1.0, 2.0], [[1.0, 2.0, 3.0]], ["a", "b", "c"], [1j, 2, 3], [[1.0], [2.0, 3.0], 4.0], None]
)
def test_a_vector_that_does_not_fit_is_refused(vector):
    with pytest.raises(DataError, match=r"expected \(3,\) real numbers"):
        Encoding(3, 1.0, 10, 2).quantize(vector)


@pytest.mark.parametrize("clip", [5e-324, 1e-300, 1e10, 1e308])
def test_there_is_no_grid_for_numbers_out_of_all_proportion(clip):
    with pytest.raises(
        SettingError,
        match=r"clip_value = .*; expected about 6e-17 to 5e\+08 for 4 sites, so that no sum wraps",
    ):
        finest_encoding(3, clip, 4)


@pytest.mark.parametrize(("cap", "weight"), [(0, 1), (5, None), (5, 6), (5, -1), (5, 2.5), (5, math.nan)])
def test_a_weight_that_does_not_fit_the_cap_is_refused(cap, weight):
    with pytest.raises(SettingError, match=r"cap|an integer"):
        Encoding(3, 1.0, 10, 2, cap).quantize([0, 0, 0], weight)


def test_finest_refuses_wrong_types_by_name():
    for wrong in ({"length": 3.0}, {"clip_value": "1"}, {"num_sites": None}, {"max_weight": 1.5}):
        with pytest.raises(SettingError, match=f"{next(iter(wrong))} = .*; expected .*, not one of type"):
            finest_encoding(**{"length": 3, "clip_value": 1.0, "num_sites": 4, "max_weight": 0, **wrong})


# -- sums that cannot be
# ------------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=200)
@given(
    data=st.data(),
    sites=st.integers(2, 6),
    cap=st.sampled_from([0, 1, 7, 128]),
    clip=st.sampled_from([1e-9, 0.3, 1.0, 77.7]),
)
def test_every_sum_of_honest_vectors_passes(data, sites, cap, clip):
    encoding = finest_encoding(3, clip, sites, cap)
    extreme = st.sampled_from([-2 * clip, -clip, 0.0, clip, 2 * clip])
    total = np.zeros(encoding.num_words, np.int64)
    for _ in range(sites):
        weight = data.draw(st.integers(0, cap)) if cap else None
        vector = data.draw(st.lists(st.one_of(extreme, st.floats(-clip, clip)), min_size=3, max_size=3))
        total += encoding.to_signed(encoding.quantize(vector, weight))
    encoding.check_sum(total, sites)


@pytest.mark.parametrize("weights", [(3, 3, 3), (0, 1, 4), (4, 4, 4), (1, 0, 0)])
def test_the_bound_is_what_the_largest_honest_vectors_add_up_to_but_for_rounding(weights):
    encoding = Encoding(1, 1.0, 1000, 3, max_weight=4)
    reached = sum(int(encoding.to_signed(encoding.quantize([9.0], weight))[0]) for weight in weights)
    bound = encoding.largest_sum(3, sum(weights))
    assert reached <= bound <= reached + 3
    for sign in (1, -1):
        encoding.check_sum(np.array([sign * bound, sum(weights)]), 3)
        with pytest.raises(ProtocolError, match=f"entry 0 .* expected at most {bound} in magnitude"):
            encoding.check_sum(np.array([sign * (bound + 1), sum(weights)]), 3)


def test_a_sum_at_full_weights_is_bounded_as_a_plain_one():
    """Roundings of what is no fraction of the clip are none, so that no half step a vector is left free."""
    encoding = Encoding(1, 1.0, 1000, 3, max_weight=4)
    assert encoding.largest_sum(3, 12) == 3 * encoding.max_abs == 3000
    encoding.check_sum(np.array([-3000, 12]), 3)
    with pytest.raises(ProtocolError, match="is 3001 grid steps; expected at most 3000"):
        encoding.check_sum(np.array([3001, 12]), 3)


def test_a_plain_sum_is_bounded_by_the_vectors_that_are_in_it():
    encoding = Encoding(2, 1.0, 1000, 5)
    encoding.check_sum(np.array([0, -3000]), 3)
    with pytest.raises(
        ProtocolError, match="entry 1 of the sum of 3 vectors is -3001 grid steps; expected at most 3000"
    ):
        encoding.check_sum(np.array([0, -3001]), 3)


@pytest.mark.parametrize("weight", [-1, 21])
def test_a_sum_of_weights_that_no_sites_have_is_refused(weight):
    with pytest.raises(ProtocolError, match=f"sum to {weight}; expected 0 to 2 x the cap of 10"):
        Encoding(1, 1.0, 1000, 5, max_weight=10).check_sum(np.array([0, weight]), 2)
    Encoding(1, 1.0, 1000, 5, max_weight=10).check_sum(np.array([0, 20]), 2)


@settings(deadline=None, max_examples=300)
@given(data=st.data(), cap=st.sampled_from([0, 1, 1000]), summands=st.integers(2, 5))
def test_whatever_passes_has_a_mean_within_the_clip(data, cap, summands):
    encoding = finest_encoding(1, 0.7, 5, cap)
    words = st.one_of(st.integers(-HALF_MODULUS, HALF_MODULUS - 1), st.integers(-5000, 5000))
    weight = data.draw(st.one_of(st.integers(-5000, 5000), words)) if cap else summands
    integers = np.array([data.draw(words), weight][: encoding.num_words])
    try:
        encoding.check_sum(integers, summands)
    except ProtocolError:
        return
    mean = Fraction(int(integers[0]), encoding.scale) * (cap or 1)
    rounding = Fraction(summands * (cap or 1), 2 * encoding.scale)
    assert abs(mean) <= weight * Fraction(0.7) * (1 + Fraction(1, 2**40)) + rounding


@pytest.mark.parametrize("scale", [100_000_004, np.int64(100_000_004)])
def test_a_clip_of_a_narrow_type_bounds_no_honest_sum_too_low(scale):
    """In float32 the product of clip and scale was one step below what an honest site sends: the sum of three
    was refused.
    """
    encoding = Encoding(1, np.float32(0.1), scale, np.int8(3))
    words = encoding.quantize([1.0])
    encoding.check_sum(encoding.to_signed(words * np.uint32(3)), 3)
    assert encoding == Encoding(1, float(np.float32(0.1)), 100_000_004, 3)


@pytest.mark.parametrize("clip", [np.int8(3), np.uint8(3), Fraction(3), np.float16(3)])
def test_numbers_of_any_type_make_the_same_grid(clip):
    assert finest_encoding(np.int8(3), clip, np.int8(4), np.uint8(2)) == finest_encoding(3, 3.0, 4, 2)
    assert np.array_equal(Encoding(1, clip, 1000, 4).quantize([9.0]), [3000])


@pytest.mark.parametrize(
    "make",
    [
        lambda: Encoding(3, 10**400, 1, 4),
        lambda: finest_encoding(3, 10**400, 4),
        lambda: finest_encoding(3, 1.0, 10**400),
    ],
)
def test_numbers_beyond_all_bounds_are_refused_by_name(make):
    with pytest.raises(SettingError):
        make()


def test_a_vector_that_is_no_message_is_refused_before_any_round():
    with pytest.raises(SettingError, match="expected at most 268,435,456"):
        Encoding(2**28 + 1, 1.0, 2, 2**20)
