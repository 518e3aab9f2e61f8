import math

import pytest
import torch

from quintain.attacks import Square
from quintain.attacks.patience import can_still_succeed, check_patience
from quintain.core.errors import SettingError
from quintain.testing import batch_invariant_net, random_inputs
from quintain.threats import Linf


def test_hope_is_lost_where_the_pace_so_far_is_too_slow() -> None:
    ground, best = torch.full((3,), -10.0), torch.tensor([-5.0, -9.0, 1.0])
    assert can_still_succeed(best, ground, 20, 100, 1.0).tolist() == [True, False, True]
    assert can_still_succeed(best, ground, 20, 100, 0.1).tolist() == [False, False, True]
    assert can_still_succeed(best, ground, 20, 100, math.inf).all()


def test_who_stands_still_below_zero_is_given_up_and_at_zero_not() -> None:
    assert can_still_succeed(torch.tensor([-1.0, 0.0]), torch.tensor([-1.0, 0.0]), 5, 10, 100.0).tolist() == [
        False,
        True,
    ]


def test_random_search_gives_up_at_a_tenth_of_its_questions_at_the_earliest() -> None:
    x, y = random_inputs(6, 1, 5, 5), torch.zeros(6, dtype=torch.long)
    model = batch_invariant_net(25, 3, lead=60.0)
    whole, short = (Square(queries=200, patience=hope)(model, x, y, Linf(0.05)) for hope in (math.inf, 0.25))
    assert whole.forwards.tolist() == [201] * 6
    assert short.forwards.tolist() == [1 + 20] * 6


@pytest.mark.parametrize("hope", [0.0, -1.0, math.nan])
def test_a_factor_that_is_not_positive_is_refused(hope: float) -> None:
    with pytest.raises(SettingError, match="expected a positive factor"):
        check_patience(hope)
