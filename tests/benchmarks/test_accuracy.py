"""The statistics beside accuracies that are compared picture by picture."""

import numpy as np
import pytest

from benchmarks.federated.accuracy import auc, bootstrap_interval, mcnemar, mean_and_interval


def pair(both, first, second, neither):
    """Two models' right answers, by how many pictures which of them gets right."""
    pictures = [(1, 1)] * both + [(1, 0)] * first + [(0, 1)] * second + [(0, 0)] * neither
    return tuple(np.array(pictures, dtype=bool).T)


def test_mcnemar_looks_at_the_pictures_that_one_model_alone_gets_right():
    assert mcnemar(*pair(500, 0, 0, 124)) == 1
    assert mcnemar(*pair(500, 6, 0, 118)) == pytest.approx(2 / 2**6)
    assert mcnemar(*pair(3, 6, 0, 1)) == mcnemar(*pair(400, 0, 6, 7))


def test_the_bootstrap_has_the_gap_and_its_standard_error():
    low, high = bootstrap_interval(*pair(500, 40, 20, 64))
    error = 100 * np.sqrt((60 / 624 - (20 / 624) ** 2) / 624)
    assert (low + high) / 2 == pytest.approx(100 * 20 / 624, abs=0.2)
    assert (high - low) / (2 * 1.96) == pytest.approx(error, rel=0.1)
    assert bootstrap_interval(*pair(600, 0, 0, 24)) == (0, 0)


def test_the_interval_over_seeds_is_that_of_students_t():
    assert mean_and_interval([1.0, 2.0, 3.0]) == "2.0 (95 %: -0.5 to 4.5; 1.0, 2.0, 3.0)"


def test_the_area_under_the_curve_counts_pairs():
    scores, labels = np.array([0.1, 0.4, 0.4, 0.9]), np.array([0, 1, 0, 1])
    assert auc(scores, labels) == pytest.approx((1 + 0.5 + 1 + 1) / 4)
