"""Pixels, and the ones that a break can do without; the first break that a search begins from."""

import torch
from torch import Tensor

from quintain.attacks.goal import Goal
from quintain.attacks.minimum_norm.refinement import (
    drop_unneeded_pixels,
    find_initial_adversarial,
    sum_channels,
)
from quintain.attacks.search import Search
from quintain.testing import linear_task, smallest_linear_change
from quintain.threats import L0, L2, Threat
from quintain.threats.broadcast import expand_pixels, top_k_mask
from quintain.threats.rng import example_rng


def searching(
    threat: Threat, queries: int | None = None, shape: tuple[int, ...] = (3, 5, 4)
) -> tuple[Search, Tensor]:
    """A search on the linear task, and each example's smallest change."""
    linear, x, w, need = linear_task(threat, shape=shape)
    y = torch.zeros(len(x), dtype=torch.long)
    search = Search(
        linear, x, Goal(y), threat, example_rng(x, 0), name="trial", minimum_norm=True, max_queries=queries
    )
    return search, smallest_linear_change(threat, w, need, x)


def flipped(search: Search) -> None:
    """A break as large as can be: every coordinate at the face where the linear function is higher."""
    answer = search.value_and_grad(search.x[search.active_rows], search.active_rows, search.goal.margin)
    search.query((answer.gradient > 0).to(search.x.dtype), search.active_rows)


def test_a_pixel_is_all_channels_of_a_place() -> None:
    values = torch.rand(2, 3, 4, 5)
    assert torch.equal(sum_channels(values), values.sum(1).flatten(1))
    assert torch.equal(expand_pixels(sum_channels(values), values)[:, 0], values.sum(1))
    rows = torch.rand(2, 7)
    assert torch.equal(expand_pixels(sum_channels(rows), rows), rows)


def test_of_equal_values_the_first_are_the_highest() -> None:
    values = torch.tensor([[1.0, 3.0, 3.0, 3.0, 0.0], [2.0, 2.0, 2.0, 2.0, 2.0]])
    assert top_k_mask(values, torch.tensor([2, 3])).tolist() == [
        [False, True, True, False, False],
        [True, True, True, False, False],
    ]


def test_the_fewest_pixels_of_a_linear_break_are_kept_and_the_rest_is_exactly_clean() -> None:
    search, least = searching(L0(20))
    flipped(search)
    seen = search.best_size.isfinite()
    drop_unneeded_pixels(search, search.active_rows)
    assert torch.equal(search.best_size[seen], least[seen])
    assert int((search.best != search.x).any(1).flatten(1).sum(1)[seen].sum()) == int(least[seen].sum())


def test_giving_back_stops_where_the_budget_does() -> None:
    search, _ = searching(L0(20), queries=6)
    flipped(search)
    drop_unneeded_pixels(search, search.active_rows)
    assert int(search.model.forwards.max()) <= 5


def test_signed_steps_break_what_can_be_broken_and_what_is_broken_costs_no_more() -> None:
    search, least = searching(L2(8.0))
    possible = least.isfinite()
    assert possible.any()
    find_initial_adversarial(search, search.active_rows)
    assert search.best_size[possible].isfinite().all()
    assert search.best_size[~possible].isinf().all()
    before = search.model.backwards.clone()
    find_initial_adversarial(search, search.active_rows[search.best_size[search.active_rows].isfinite()])
    assert torch.equal(search.model.backwards, before)
