"""The loop that random searches share: propose a change, query it once, keep it if the loss rose."""

import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from quintain.attacks.ascent_loop import select_rows
from quintain.attacks.goal import Loss
from quintain.attacks.patience import can_still_succeed
from quintain.attacks.search import Search
from quintain.threats.broadcast import expand_rows
from quintain.threats.rng import ExampleRNG

State = TypeVar("State", bound=tuple[Tensor, ...])
"""What a search has of each example: tensors whose first axis is the example.

The first of them holds the points.
"""

Constants = TypeVar("Constants", bound=tuple[Tensor, ...])
"""What never changes of each example, such as the ends of its range."""

Propose = Callable[[int, float, State, Constants, Tensor], State]
"""A changed state from (query, fraction of the queries that are spent, state, fixed, uniform numbers in [0,
1] (n, count)).
"""

RNG_BLOCK = 64
"""For how many queries random numbers are drawn at once."""

PATIENCE_CHECKS = (0.1, 0.2, 0.4, 0.6, 0.8)
"""Fractions of the queries after which ``can_still_succeed`` decides whether an example goes on."""


def random_search_loop(
    search: Search,
    *,
    rows: Tensor,
    state: State,
    constants: Constants,
    propose: Propose[State, Constants],
    uniforms_per_step: int,
    rng: ExampleRNG,
    queries: int,
    loss: Loss,
    patience: float = math.inf,
) -> None:
    """Run random search: a proposal replaces an example's state where its loss is larger.

    Finished examples cost nothing.

    Args:
        search: Runs the model, checks success and keeps each example's best point.
        rows: The examples to attack (n,).
        state: Of each, at the start; its points must be allowed.
        constants: Of each.
        propose: Gives a state whose points are allowed.
        uniforms_per_step: How many uniform numbers an example's proposal needs.
        rng: The streams of random numbers of the whole batch, of this start alone.
        queries: Queries per example, the start included; fewer where its budget ends.
        loss: What is maximized.
        patience: After 10, 20, 40, 60 and 80 % of the queries an example is dropped where
            ``can_still_succeed`` says no.
    """
    rows, state, constants = (
        rows[active := search.is_active(rows)],
        select_rows(state, active),
        select_rows(constants, active),
    )
    if not len(rows):
        return
    queries = queries if search.model.max_queries is None else min(queries, search.model.max_queries)
    value = loss(search.query(state[0], rows), rows)
    uniforms = initial_loss = value
    patience_checks = {max(1, int(fraction * queries)) for fraction in PATIENCE_CHECKS}
    for step in range(1, queries):
        # at 10, 20, 40, 60 and 80 % of the queries drop examples that patience gives up
        active = search.is_active(rows)
        if step in patience_checks:
            active &= can_still_succeed(value, initial_loss, step, queries, patience)
        if not active.all():
            rows, value, uniforms, initial_loss = (
                rows[active],
                value[active],
                uniforms[active],
                initial_loss[active],
            )
            state, constants = select_rows(state, active), select_rows(constants, active)
            if not len(rows):
                return
        block, column = divmod(step - 1, RNG_BLOCK)
        # random numbers for 64 steps at once
        if not column:
            uniforms = (
                rng.fold_in("block", block)
                .select(rows)
                .uniform(torch.empty(len(rows), RNG_BLOCK, uniforms_per_step, device=rows.device))
            )
        proposed = propose(step, step / queries, state, constants, uniforms[:, column])
        new_value = loss(search.query(proposed[0], rows), rows)
        # accept where the loss rose
        better = new_value > value
        value = torch.where(better, new_value, value)
        state = where_state(better, proposed, state)


def where_state(first: Tensor, one: State, other: State) -> State:
    """Return the parts of one state for the examples where ``first`` (n,), of the other elsewhere."""
    parts = [
        new if new is old else torch.where(expand_rows(first, new), new, old)
        for new, old in zip(one, other, strict=True)
    ]
    kind = type(one)
    return kind(*parts) if hasattr(kind, "_fields") else kind(parts)
