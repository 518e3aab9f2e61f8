"""Pixels, and the ones that a break can do without; the first break that a search begins from."""

import torch
from torch import Tensor

from quintain.attacks.goal import Goal
from quintain.attacks.search import Search
from quintain.attacks.smallest.pixels import give_back, per_pixel
from quintain.attacks.smallest.reach import reach
from quintain.threats import L0, L2, Ball
from quintain.threats.columns import highest, over_pixels
from quintain.threats.draw import draws
from tests.laws.checks_attacks import linear_task
from tests.laws.oracles import smallest_linear_change


def searching(threat: Ball, queries: int | None = None, shape: tuple[int, ...] = (3, 5, 4)) -> tuple[Search, Tensor]:
    """A search on the linear task, and each example's smallest change."""
    linear, x, w, need = linear_task(threat, shape=shape)
    y = torch.zeros(len(x), dtype=torch.long)
    search = Search(linear, x, Goal(y), threat, draws(x, 0), name="trial", smallest=True, queries=queries)
    return search, smallest_linear_change(threat, w, need, x)


def flipped(search: Search) -> None:
    """A break as large as can be: every coordinate at the face where the linear function is higher."""
    answer = search.slope(search.x[search.rows], search.rows, search.goal.margin)
    search.scores((answer.gradient > 0).to(search.x.dtype), search.rows)


def test_a_pixel_is_all_channels_of_a_place() -> None:
    values = torch.rand(2, 3, 4, 5)
    assert torch.equal(per_pixel(values), values.sum(1).flatten(1))
    assert torch.equal(over_pixels(per_pixel(values), values)[:, 0], values.sum(1))
    rows = torch.rand(2, 7)
    assert torch.equal(over_pixels(per_pixel(rows), rows), rows)


def test_of_equal_values_the_first_are_the_highest() -> None:
    values = torch.tensor([[1.0, 3.0, 3.0, 3.0, 0.0], [2.0, 2.0, 2.0, 2.0, 2.0]])
    assert highest(values, torch.tensor([2, 3])).tolist() == [[False, True, True, False, False], [True, True, True, False, False]]


def test_the_fewest_pixels_of_a_linear_break_are_kept_and_the_rest_is_exactly_clean() -> None:
    search, least = searching(L0(20))
    flipped(search)
    seen = search.size.isfinite()
    give_back(search, search.rows)
    assert torch.equal(search.size[seen], least[seen])
    assert int((search.best != search.x).any(1).flatten(1).sum(1)[seen].sum()) == int(least[seen].sum())


def test_giving_back_stops_where_the_budget_does() -> None:
    search, _ = searching(L0(20), queries=6)
    flipped(search)
    give_back(search, search.rows)
    assert int(search.meter.forwards.max()) <= 5


def test_signed_steps_break_what_can_be_broken_and_what_is_broken_costs_no_more() -> None:
    search, least = searching(L2(8.0))
    possible = least.isfinite()
    assert possible.any()
    reach(search, search.rows)
    assert search.size[possible].isfinite().all()
    assert search.size[~possible].isinf().all()
    before = search.meter.backwards.clone()
    reach(search, search.rows[search.size[search.rows].isfinite()])
    assert torch.equal(search.meter.backwards, before)
