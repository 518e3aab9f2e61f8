"""Numbers as people read them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quintain.core import rounding
from quintain.report import format as fmt
from quintain.results.quantity import Metric, Side


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.7291666, "72.9 %"),
        (0.0, "0.0 %"),
        (1.0, "100.0 %"),
        (0.0004, "<0.1 %"),
        (0.9996, ">99.9 %"),
        (0.9994, "99.9 %"),
        (None, "–"),
        (math.nan, "NaN"),
        (math.inf, "∞"),
    ],
)
def test_percent(share: float | None, text: str) -> None:
    assert fmt.percent(share) == text


@given(st.floats(0, 1))
def test_only_nothing_reads_as_nothing_and_only_all_as_all(share: float) -> None:
    assert (fmt.percent(share) == "0.0 %") == (share == 0)
    assert (fmt.percent(share) == "100.0 %") == (share == 1)


@pytest.mark.parametrize(
    ("value", "up", "down"),
    [
        (3.0, "3.00", "3.00"),
        (3.004, "3.01", "3.00"),
        (2.9999, "3.00", "2.99"),
        (0.07, "0.07", "0.07"),
        (0.004, "0.004", "0.004"),
        (0.0040001, "0.00401", "0.004"),
        (1e-4, "0.0001", "0.0001"),
        (1.2345e-5, "1.24e-5", "1.23e-5"),
        (0.0, "0.00", "0.00"),
        (math.inf, "∞", "∞"),
        (math.nan, "NaN", "NaN"),
        (None, "–", "–"),
    ],
)
def test_epsilon_is_rounded_to_the_side_on_which_it_stays_true(
    value: float | None, up: str, down: str
) -> None:
    assert (fmt.epsilon(value), fmt.epsilon(value, Side.LOWER)) == (up, down)


@given(st.floats(1e-300, 1e300))
def test_no_bound_is_shown_better_than_it_is(value: float) -> None:
    for digits in (3, 4):
        low, high = (float(rounding.bound(value, up=up, digits=digits)) for up in (False, True))
        assert low <= value <= high
        assert high - low <= value * 10 ** (1 - digits) * 1.001
    assert float(fmt.epsilon(value, Side.LOWER)) <= value <= float(fmt.epsilon(value))
    assert float(fmt.epsilon(value)) > 0


@pytest.mark.parametrize(
    ("eps", "text"),
    [
        (2 / 255, "2/255"),
        (4 / 255, "4/255"),
        (8 / 255, "8/255"),
        (0.5, "0.5"),
        (0.2, "0.2"),
        (1.0, "1"),
        (0.0, "0"),
        (0.1234567, "0.1235"),
    ],
)
def test_size(eps: float, text: str) -> None:
    assert fmt.eps_text(eps) == text
    assert fmt.eps_text(math.inf) == "∞"


@given(st.integers(1, 254))
def test_a_size_survives_its_token(steps: int) -> None:
    assert fmt.eps_of(f"linf:{fmt.eps_text(steps / 255)}") == steps / 255


@pytest.mark.parametrize("token", ["", "patch", "linf:", "linf:a/b", "linf:1/0"])
def test_a_token_without_a_size_has_none(token: str) -> None:
    assert math.isnan(fmt.eps_of(token))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.021, "21 ms"),
        (0.7, "0.7 s"),
        (6.3, "6.3 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (221, "3 min 41 s"),
        (3725, "1 h 2 min"),
        (math.inf, "∞"),
    ],
)
def test_seconds(value: float, text: str) -> None:
    assert fmt.seconds(value) == text


@pytest.mark.parametrize(
    ("many", "text"),
    [(0, "0 B"), (999, "999 B"), (69_000, "69 kB"), (448_260, "448 kB"), (1.93e9, "1.93 GB"), (1e6, "1 MB")],
)
def test_bytes(many: float, text: str) -> None:
    assert fmt.size_in_bytes(many) == text


def test_the_rest() -> None:
    assert fmt.threat_text("linf:4/255") == "Linf 4/255"
    assert fmt.threat_text("l2:0.5") == "L2 0.5"
    assert fmt.threat_text("patch") == "patch"
    assert fmt.delta(1e-5) == "1e-5"
    assert fmt.delta(1e-12) == "1e-12"
    assert fmt.decibels(33.14) == "33.1 dB"
    assert fmt.decibels(math.inf) == "∞ dB"
    assert fmt.points(-0.0304) == "-3.0 points"
    assert fmt.number(-math.inf) == "−∞"
    assert fmt.interval(Metric.ROBUST_ACCURACY, 0.692, 0.773) == "69.2 .. 77.3 %"
    assert fmt.interval(Metric.EPSILON, 0.93, math.inf) == "0.93 .. ∞"
    assert fmt.interval(Metric.ROBUST_ACCURACY, math.nan, 1) == "NaN .. 100.0 %"
    assert fmt.date("2026-11-24T13:04:05+00:00") == "24 Nov 2026, 13:04 UTC"
    assert fmt.date("yesterday") == "yesterday"
    assert fmt.count(1, "canary", "canaries") == "1 canary"
    assert fmt.count(1200, "example") == "1,200 examples"
    assert fmt.noun("xrays.test") == "X-rays"
    assert fmt.noun("cifar") == "examples"
