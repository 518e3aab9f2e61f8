"""Bisection on the segment, where the boundary is known."""

import pytest
import torch
from torch import Tensor

from quintain.attacks import Goal, Search
from quintain.attacks.minimum_norm.refinement import bisect_to_boundary
from quintain.threats import L2, Linf
from quintain.threats.rng import example_rng


def threshold(edge: Tensor) -> object:
    """Answers 1 where the first value of the row is at least ``edge``."""

    def model(z: Tensor) -> Tensor:
        first = z.flatten(1)[:, 0]
        return torch.stack(
            [torch.zeros_like(first), torch.where(first >= edge, 1.0, -1.0).to(first.dtype)], 1
        )

    return model


def search_at(
    edge: float,
    *,
    dtype: torch.dtype = torch.float64,
    count: int = 3,
    queries: int | None = None,
    best: float = 1.0,
) -> Search:
    """A search that knows one break of each example: every value at ``best``."""
    x = torch.zeros(count, 2, 3, dtype=dtype)
    goal = Goal(torch.zeros(count, dtype=torch.long))
    search = Search(
        threshold(torch.tensor(edge)),
        x,
        goal,
        Linf(1.0),
        example_rng(x, 0),
        name="test",
        minimum_norm=True,
        max_queries=queries,
    )
    search.query(x + best, torch.arange(count))
    return search


@pytest.mark.parametrize("edge", [0.003, 0.3, 0.95, 0.999])
@pytest.mark.parametrize("steps", [1, 4, 10, 20])
def test_it_comes_as_near_as_it_says(edge: float, steps: int) -> None:
    search = search_at(edge)
    bisect_to_boundary(search, search.active_rows, steps)
    assert (search.best_size <= edge + 2.0**-steps).all()
    assert (search.model.forwards == 2 + max(1, steps - 3 if edge > 15 / 16 else steps + 1)).all()


@pytest.mark.parametrize(("dtype", "most"), [(torch.float16, 20), (torch.float32, 32), (torch.float64, 64)])
@pytest.mark.parametrize("edge", [0.3125, 0.984375])
def test_it_ends_by_itself_at_the_smallest_number_that_breaks(
    dtype: torch.dtype, most: int, edge: float
) -> None:
    search = search_at(edge, dtype=dtype)
    bisect_to_boundary(search, search.active_rows, 1_000)
    assert search.best[:, 0, 0].tolist() == [edge] * 3
    assert int(search.model.forwards.max()) <= most


def test_what_has_no_break_and_what_was_wrong_already_cost_nothing() -> None:
    search = search_at(2.0)
    assert search.best_size.isinf().all()
    bisect_to_boundary(search, search.active_rows)
    assert (search.model.forwards == 2).all()
    search = search_at(-1.0)
    bisect_to_boundary(search, torch.arange(3))
    assert (search.best_size == 0).all()
    assert (search.model.forwards == 2).all()


def test_examples_are_shrunk_each_by_itself_and_only_those_asked_for() -> None:
    x = torch.tensor([[0.0, 0.2], [0.0, 0.5], [0.0, 0.97]], dtype=torch.float64)

    def model(z: Tensor) -> Tensor:
        lead = z[:, 0] - z[:, 1]
        return torch.stack([torch.zeros_like(lead), torch.where(lead >= 0, 1.0, -1.0).double()], 1)

    search = Search(
        model,
        x,
        Goal(torch.zeros(3, dtype=torch.long)),
        L2(2.0),
        example_rng(x, 0),
        name="test",
        minimum_norm=True,
    )
    search.query(torch.stack((torch.ones(3, dtype=torch.float64), x[:, 1]), 1), torch.arange(3))
    bisect_to_boundary(search, torch.tensor([2, 0]), 30)
    assert search.best[:, 0].tolist() == pytest.approx([0.2, 1.0, 0.97], abs=1e-8)
    assert search.model.forwards.tolist() == [2 + 31, 2, 2 + 27]


@pytest.mark.parametrize("queries", [3, 4, 7])
def test_the_final_check_stays_affordable(queries: int) -> None:
    search = search_at(0.3, queries=queries)
    bisect_to_boundary(search, search.active_rows)
    assert (search.model.forwards == max(2, queries - 1)).all()
    assert search.outcome().success.all()


def test_a_segment_with_holes_still_ends_on_a_break_that_is_no_larger() -> None:
    x = torch.zeros(1, 1, dtype=torch.float64)

    def model(z: Tensor) -> Tensor:
        broken = ((z > 0.2) & (z < 0.35)) | (z > 0.6)
        return torch.cat((torch.zeros_like(z), torch.where(broken, 1.0, -1.0).double()), 1)

    search = Search(
        model,
        x,
        Goal(torch.zeros(1, dtype=torch.long)),
        Linf(1.0),
        example_rng(x, 0),
        name="test",
        minimum_norm=True,
    )
    search.query(torch.ones_like(x), torch.arange(1))
    bisect_to_boundary(search, search.active_rows, 40)
    assert float(search.best_size) == pytest.approx(0.6)
    assert search.outcome().success.all()
