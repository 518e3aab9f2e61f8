"""Counts by class give the accuracies of the field."""

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


def test_of_three_classes_there_is_no_sensitivity():
    tally = ClassCounts((1, 2, 0), (2, 2, 0))
    assert tally.sensitivity is None
    assert tally.balanced_accuracy == pytest.approx(0.75)
    assert tally.num_filled_classes == 2


@pytest.mark.parametrize(("right", "total"), [((1,), (0,)), ((1, 1), (1,)), ((), ()), ((0, 0), (0, 0))])
def test_impossible_tallies_are_refused(right, total):
    with pytest.raises(SettingError):
        ClassCounts(right, total)
