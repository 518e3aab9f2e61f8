"""The loop that random searches share: propose a change to each example, ask once, and keep what is better."""

import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from quintain.attacks.goal import Loss
from quintain.attacks.hope import hopeful
from quintain.attacks.loop import kept
from quintain.attacks.search import Search
from quintain.threats.columns import column
from quintain.threats.draw import Draw

State = TypeVar("State", bound=tuple[Tensor, ...])
"""What a search has of each example: tensors whose first axis is the example; the first of them holds the points."""

Fixed = TypeVar("Fixed", bound=tuple[Tensor, ...])
"""What never changes of each example, such as the ends of its range."""

Propose = Callable[[int, float, State, Fixed, Tensor], State]
"""A changed state from (question, share of the questions that are spent, state, fixed, uniform numbers in [0, 1] (n, count))."""

BLOCK = 64
"""For how many questions random numbers are drawn at once."""

LOOKS = (0.1, 0.2, 0.4, 0.6, 0.8)
"""After which shares of the questions it is asked whether an example may still be broken."""


def walk(
    search: Search,
    *,
    rows: Tensor,
    state: State,
    fixed: Fixed,
    propose: Propose[State, Fixed],
    numbers: int,
    draw: Draw,
    questions: int,
    loss: Loss,
    hope: float = math.inf,
) -> None:
    """Random search: an example's state is replaced where the proposed one has a higher loss; who is done costs nothing more.

    Args:
        search: Asks, judges and keeps.
        rows: The examples to attack (n,).
        state: Of each, at the start; its points must be allowed.
        fixed: Of each.
        propose: Gives a state whose points are allowed.
        numbers: How many uniform numbers an example's proposal needs.
        draw: The streams of random numbers of the whole batch, of this start alone.
        questions: How often an example is asked about, the start included; fewer where its budget ends.
        loss: What is ascended.
        hope: After 10, 20, 40, 60 and 80 % of the questions an example leaves that is not ``hopeful``.
    """
    rows, state, fixed = rows[still := search.standing(rows)], kept(state, still), kept(fixed, still)
    if not len(rows):
        return
    questions = questions if search.meter.queries is None else min(questions, search.meter.queries)
    value = loss(search.scores(state[0], rows), rows)
    drawn = ground = value
    looks = {max(1, int(share * questions)) for share in LOOKS}
    for question in range(1, questions):
        still = search.standing(rows)
        if question in looks:
            still &= hopeful(value, ground, question, questions, hope)
        if not still.all():
            rows, value, drawn, ground = rows[still], value[still], drawn[still], ground[still]
            state, fixed = kept(state, still), kept(fixed, still)
            if not len(rows):
                return
        block, turn = divmod(question - 1, BLOCK)
        if not turn:
            drawn = draw.at("block", block).of(rows).uniform(torch.empty(len(rows), BLOCK, numbers, device=rows.device))
        proposed = propose(question, question / questions, state, fixed, drawn[:, turn])
        there = loss(search.scores(proposed[0], rows), rows)
        better = there > value
        value = torch.where(better, there, value)
        state = chosen(better, proposed, state)


def chosen(first: Tensor, one: State, other: State) -> State:
    """The parts of one state for the examples where ``first`` (n,), of the other elsewhere."""
    parts = [new if new is old else torch.where(column(first, new), new, old) for new, old in zip(one, other, strict=True)]
    kind = type(one)
    return kind(*parts) if hasattr(kind, "_fields") else kind(parts)
