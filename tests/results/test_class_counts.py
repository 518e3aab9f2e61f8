"""Counts by class give the accuracies of the field, and say whether a model beats the majority class."""

from itertools import product

import numpy as np
import pytest

from quintain.core.errors import SettingError
from quintain.results import ClassCounts


def test_a_tally_gives_the_accuracies_of_the_field():
    tally = ClassCounts((138, 376), (234, 390))
    assert tally.accuracy == 514 / 624
    assert tally.specificity == 138 / 234
    assert tally.sensitivity == 376 / 390
    assert tally.balanced_accuracy == pytest.approx((138 / 234 + 376 / 390) / 2)
    assert tally.majority_accuracy == 390 / 624
    assert tally.interval()[0] < tally.accuracy < tally.interval()[1]


def test_predictions_are_counted_by_their_true_class():
    labels = np.array([0, 1, 1, 0, 1])
    counts = ClassCounts.of(np.array([True, True, False, True, True]), labels, 3)
    assert counts == ClassCounts((2, 2, 0), (2, 3, 0))
    assert {type(one) for one in counts.correct + counts.total} == {int}


def test_of_three_classes_there_is_no_sensitivity():
    tally = ClassCounts((1, 2, 0), (2, 2, 0))
    assert tally.sensitivity is None
    assert tally.balanced_accuracy == pytest.approx(0.75)
    assert tally.num_filled_classes == 2


@pytest.mark.parametrize(("right", "total"), [((1,), (0,)), ((1, 1), (1,)), ((), ()), ((0, 0), (0, 0))])
def test_impossible_tallies_are_refused(right, total):
    with pytest.raises(SettingError):
        ClassCounts(right, total)


def test_better_than_the_majority_class_is_a_sign_test_where_the_two_differ():
    for mine, theirs in product(range(13), range(3)):
        tally = ClassCounts((90 - theirs, mine), (90, 20))
        assert tally.differences == (mine, theirs)
        # all ways to give each of these examples to one of the two
        ways = [sum(way) >= mine for way in product((0, 1), repeat=mine + theirs)]
        assert tally.is_better_than_majority == (sum(ways) / len(ways) <= 0.001)


@pytest.mark.parametrize(
    ("right", "total", "untrained"),
    [
        ((500, 0), (500, 500), True),  # one class for all
        ((0, 500), (500, 500), True),
        ((250, 260), (500, 500), True),  # 51 %, which chance explains
        ((330, 330), (500, 500), False),
        ((100, 0), (100, 0), False),  # of one class nothing can be learned but that
        ((40, 0), (100, 0), True),
        ((995, 5), (995, 5), False),  # all right, with too few of the other class for a test
        ((994, 4), (995, 5), False),
        ((995, 0), (995, 5), True),
        ((3, 2, 2), (3, 3, 3), False),
    ],
)
def test_a_model_that_learned_nothing_of_these_examples_is_suspected_and_a_good_one_is_not(
    right, total, untrained
):
    assert ClassCounts(right, total).seems_untrained is untrained
