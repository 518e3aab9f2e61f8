"""Exact statistics against scipy's own, and against what they promise."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from quintain.core.errors import SettingError
from quintain.core.statistics import binomial_interval, binomial_lower, binomial_tail, binomial_upper, psnr


@given(st.integers(1, 400), st.data())
def test_the_interval_is_scipys_clopper_pearson(trials, data):
    hits = data.draw(st.integers(0, trials))
    reference = binomtest(hits, trials).proportion_ci(0.95, method="exact")
    assert binomial_interval(hits, trials, 0.95) == pytest.approx((reference.low, reference.high), abs=1e-9)


@given(st.integers(1, 60), st.floats(0.01, 0.99))
def test_a_limit_errs_no_more_often_than_it_says(trials, truth):
    too_high = sum(
        binom.pmf(k, trials, truth) for k in range(trials + 1) if binomial_lower(k, trials, 0.9) > truth
    )
    too_low = sum(
        binom.pmf(k, trials, truth) for k in range(trials + 1) if binomial_upper(k, trials, 0.9) < truth
    )
    assert max(too_high, too_low) <= 0.1 + 1e-9


@given(st.integers(1, 200), st.floats(0.001, 0.999), st.data())
def test_the_tail_is_scipys(trials, probability, data):
    hits = data.draw(st.integers(-1, trials + 1))
    assert binomial_tail(hits, trials, probability) == pytest.approx(
        binom.sf(hits - 1, trials, probability), rel=1e-9, abs=1e-300
    )


@pytest.mark.parametrize(("hits", "trials"), [(-1, 3), (4, 3), (0, 0)])
def test_impossible_counts_are_refused(hits, trials):
    with pytest.raises(SettingError, match="expected 0 <= hits <= trials"):
        binomial_lower(hits, trials, 0.95)


@pytest.mark.parametrize("confidence", [0.0, 1.0, -1, 95])
def test_a_confidence_is_a_probability(confidence):
    for hits in (0, 1, 3):
        for limit in (binomial_lower, binomial_upper):
            with pytest.raises(SettingError, match="strictly between 0 and 1"):
                limit(hits, 3, confidence)


def test_psnr_of_a_known_error():
    assert psnr(0.01) == pytest.approx(20)
    assert psnr(0) == float("inf")
