"""Many runs of a mechanism on two neighboring inputs, and the score that tells them apart."""

import math
import re
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch

from quintain.core.errors import DataError, ModelError, SettingError
from quintain.leakage import audit_many_runs
from quintain.leakage.mechanism_runs import (
    MechanismRuns,
    neighbor_relation,
    replaces_a_blank,
    run_mechanism,
    score_runs,
)

ONE, OTHER = np.arange(6.0).reshape(3, 2), np.arange(4.0).reshape(2, 2)


@pytest.mark.parametrize(
    ("records", "neighbor", "expected"),
    [
        (ONE, OTHER, "add/remove"),
        (OTHER, ONE, "add/remove"),
        (ONE, ONE[::-1] * np.array([[1.0], [1.0], [1.0]]) + np.array([[0.0, 0], [0, 0], [9, 9]]), "replace"),
        ([1, 2, 2], [1, 2], "add/remove"),
        (["a", "b"], ["a", "c"], "replace"),
        (torch.zeros(3), torch.zeros(2), "add/remove"),
        ({"a": 1}, {"a": 2}, None),
        ((ONE, OTHER), (ONE, OTHER), None),
    ],
)
def test_how_two_inputs_differ(records, neighbor, expected):
    assert neighbor_relation(records, neighbor) == expected


@pytest.mark.parametrize(
    ("records", "neighbor", "expected"),
    [
        ([[1.0], [0.5]], [[0.0], [0.5]], True),
        ([[0.0], [0.5]], [[1.0], [0.5]], True),
        ([[1.0], [0.5]], [[-1.0], [0.5]], False),
        ([[1.0], [0.0]], [[-1.0], [0.0]], False),
        ([1, 2, 2], [1, 2], False),
    ],
)
def test_a_blank_record_in_the_place_of_another_is_known(records, neighbor, expected):
    assert replaces_a_blank(np.array(records), np.array(neighbor)) is expected


@pytest.mark.parametrize("neighbor", [ONE, ONE[:1], ONE + 1, np.arange(3.0)])
def test_inputs_that_are_no_neighbors_are_refused(neighbor):
    with pytest.raises(DataError, match="expected neighbors"):
        neighbor_relation(ONE, neighbor)


def shown(mechanism, seed, runs=200, delta=0.0):
    found = run_mechanism(mechanism, [1, 2], [1], runs=runs, seed=seed)
    scores, included = score_runs(found, delta=delta, seed=seed)
    assert len(scores) == runs
    assert included.sum() == runs // 2
    return audit_many_runs(scores, included, delta=delta, seed=seed).epsilon


def test_a_mechanism_is_overstated_no_more_often_than_the_confidence_says():
    """Of 60 audits at 95 %, 14 or more too high have a chance below 1e-6."""
    of_one = [shown(lambda records, rng: len(records) + rng.laplace(), seed) for seed in range(60)]
    assert sum(value > 1 for value in of_one) < 14
    of_none = [shown(lambda _, rng: rng.normal(size=5), seed) for seed in range(60)]
    assert sum(value > 0 for value in of_none) < 14


@pytest.mark.parametrize(
    "mechanism",
    [
        lambda records, rng: 8.0 * len(records) + rng.normal(),
        lambda records, rng: -8.0 * len(records) + rng.normal(),
        lambda records, rng: rng.normal(size=10) * 4.0 ** len(records),
        lambda records, rng: np.append(rng.normal(size=10) * 1e6, 8.0 * len(records) + rng.normal()),
        lambda records, rng: rng.choice([-1.0, 1.0]) * len(records),
        lambda records, rng: 1e-9 * len(records) + 1.0,
        lambda records, rng: np.append(rng.normal(size=2), 1e7 + len(records)),
        lambda records, rng: np.append(rng.normal(size=2), 1.7e9 + len(records) + 0.05 * rng.laplace()),
        lambda records, rng: np.append(
            rng.normal(size=2), 1.7e9 + 1e-3 * rng.normal() * 20.0 ** len(records)
        ),
        lambda records, rng: np.append(1.7e9 + 1 / 3, 8.0 * len(records) + rng.normal()),
    ],
    ids=[
        "mean",
        "mean, the other way",
        "spread",
        "one of many",
        "spread of signs",
        "constants",
        "exact beside noise, from an offset on",
        "mean, from an offset on",
        "spread, from an offset on",
        "a constant offset beside a mean",
    ],
)
def test_what_tells_inputs_apart_is_found(mechanism):
    assert shown(mechanism, seed=0) > 1.5


@pytest.mark.parametrize(
    ("mechanism", "lost"),
    [
        (lambda records, rng: np.array([rng.normal() + 1j * len(records)]), "complex numbers"),
        (lambda records, rng: rng.normal() + 1j * len(records), "complex numbers"),
        (lambda records, _: np.array([2**60 + len(records)]), "integers beyond 2^53"),
        (lambda records, _: np.array([-(2**60) - len(records)]), "integers beyond 2^53"),
        (lambda records, _: torch.tensor([2**60 + len(records)]), "integers beyond 2^53"),
        (lambda records, rng: [2**60 + len(records), rng.normal()], "integers beyond 2^53"),
        (lambda records, _: 2**200 + len(records), "integers beyond 2^53"),
        (lambda records, _: 2**1024 - len(records), "integers beyond 2^53"),
        (lambda records, _: [np.int64(2**60 + len(records))], "integers beyond 2^53"),
        (lambda records, _: [torch.tensor(2**53 + len(records) % 2)], "integers beyond 2^53"),
        (lambda records, _: [np.longdouble(1e18) + len(records) / 16], "numbers of more digits"),
        (lambda records, _: [Fraction(2**60 + len(records))], "a Fraction"),
        (lambda records, _: Decimal(10**20) + len(records), "a Decimal"),
        (lambda records, _: [str(2**53 + len(records))], "a str"),
    ],
)
def test_what_float64_does_not_hold_is_refused_and_not_passed_over(mechanism, lost):
    with pytest.raises(ModelError, match=f"fn releases {re.escape(lost)}.*, which float64 does not hold"):
        run_mechanism(mechanism, [1, 2], [1], runs=8, seed=0)


@pytest.mark.parametrize("released", [math.nan, math.inf, [-1.7e308, 0.0], 1.1e300, []])
def test_what_is_no_number_or_too_large_to_compute_with_is_refused(released):
    with pytest.raises(ModelError, match=r"fn releases .* all finite and at most 1e\+300 in size"):
        run_mechanism(lambda *_: released, [1, 2], [1], runs=8, seed=0)


@pytest.mark.filterwarnings("error")
def test_numbers_of_the_largest_size_and_those_far_beyond_earlier_ones_have_finite_scores():
    """The first quarter of the runs, to which scores are fitted, has 0 or the smallest number of all."""
    rng = np.random.default_rng(0)
    early, late = 5e-324 * rng.integers(0, 2, (2, 25, 1)), 1e300 * rng.choice([-1.0, 1.0], (2, 75, 1))
    for releases in (np.concatenate([early, late], axis=1), np.concatenate([late, early], axis=1)):
        scores, _ = score_runs(MechanismRuns(*releases), delta=0.0, seed=0)
        assert np.isfinite(scores).all()


@pytest.mark.parametrize(
    "released",
    [
        2**53,
        2**60,
        [2**53, np.int64(2**60), 0.5],
        np.array([-(2**53)]),
        np.float32(1e30),
        [np.float64(1e300), True],
        torch.ones(2),
    ],
)
def test_what_float64_holds_is_taken(released):
    runs = run_mechanism(lambda *_: released, [1, 2], [1], runs=8, seed=0)
    assert np.array_equal(runs.releases[0], np.asarray(released, dtype=float).ravel())


def test_runs_follow_from_the_seed_and_are_told_apart():
    one, same, other = (
        run_mechanism(lambda _, rng: rng.normal(), [1, 2], [1], runs=9, seed=seed) for seed in (0, 0, 1)
    )
    assert np.array_equal(one.releases, same.releases)
    assert not np.array_equal(one.releases, other.releases)
    assert len({*one.releases.ravel(), *one.neighbor_releases.ravel()}) == 18


def test_too_few_runs_are_refused():
    runs = MechanismRuns(np.zeros((7, 1)), np.zeros((7, 1)))
    with pytest.raises(SettingError, match="expected at least 8"):
        score_runs(runs, delta=0.0, seed=0)


def test_each_run_gets_an_input_of_its_own_whatever_it_does_to_it():
    def in_place(records, rng):
        records += rng.laplace(size=records.shape)
        return records.sum()

    def consuming(records, _rng):
        return float(sum(records.pop() for _ in range(len(records))))

    found = run_mechanism(in_place, np.array([1.0, 0.5]), np.array([0.0, 0.5]), runs=200, seed=1)
    # noise that added up over the runs would spread as their number
    assert np.abs(found.releases).max() < 40
    runs = run_mechanism(consuming, [1.0, 2.0], [1.0], runs=8, seed=0)
    assert set(runs.releases.ravel()) == {3.0}
    assert set(runs.neighbor_releases.ravel()) == {1.0}


def test_an_input_that_cannot_be_copied_is_refused():
    with pytest.raises(SettingError, match="a generator, which cannot be copied for each run"):
        run_mechanism(lambda records, _rng: 0.0, (one for one in [1]), [1], runs=8, seed=0)
