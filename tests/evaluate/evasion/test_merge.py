"""Curves over what the attacks of a run found."""

from itertools import pairwise

import pytest

from quintain.evaluate.evasion.merge import MAX_POINTS, correct_by_queries


@pytest.mark.parametrize(("found", "start"), [([], 5), ([3, 3, 7], 5), (range(1, 2000), 3000), ([1], 1)])
def test_the_curve_over_questions_falls_from_all_to_what_is_left(found, start):
    curve = correct_by_queries(list(found), start)
    assert curve[0] == (0, start)
    assert curve[-1][1] == start - len(list(found))
    assert len(curve) <= MAX_POINTS + 1
    assert all(a[0] < b[0] and a[1] > b[1] for a, b in pairwise(curve))
    assert all(left == start - sum(one <= asked for one in found) for asked, left in curve)
