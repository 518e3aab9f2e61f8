"""The loop that every gradient attack shares: ask for a slope, drop who is done, step."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from torch import Tensor

from quintain.attacks.goal import Loss
from quintain.attacks.search import Answer, Search
from quintain.threats.ball import Room
from quintain.threats.draw import Draw

State = TypeVar("State", bound=tuple[Tensor, ...])
"""What a rule remembers of each example: tensors whose first axis is the example; the first of them holds the next points."""

Start = Callable[[Tensor, Draw, Room], State]
"""The first state for clean inputs (n, *S), from their streams of random numbers and the threat's room."""

Rule = Callable[[int, State, Answer, Tensor, Room], State]
"""The next state from (step, state, the model's answer at the state's points, clean inputs, the threat's room)."""


Stays = Callable[[int, State], Tensor | None]
"""Which examples go on (n,) bool, from (step, state); None where none leaves."""

Through = Callable[[int, State, Tensor], Tensor]
"""The images (n, *S) that the model is shown instead of the candidates', from (step, state, the candidates' images)."""


def climb(
    search: Search,
    *,
    draw: Draw,
    start: Start[State],
    rule: Rule[State],
    steps: int,
    loss: Loss,
    rows: Tensor | None = None,
    stays: Stays[State] | None = None,
    through: Through[State] | None = None,
) -> None:
    """Gradient ascent on the examples still standing.

    Each is asked ``steps`` times with a gradient and once without, until it is done; from then on it costs nothing.

    Args:
        search: Asks, judges and keeps.
        draw: The streams of random numbers of the whole batch, of this start alone.
        start: Gives the first state.
        rule: Gives the next state; its points must be allowed.
        steps: Gradients per example.
        loss: What is ascended.
        rows: The examples to attack (n,); all that stand if not given.
        stays: Which examples are worth another step, once a state is known; the others leave this climb and cost nothing more.
        through: What the gradients are taken through, if not at the candidates themselves; see ``Search.slope``.
    """
    rows = search.rows if rows is None else rows[search.standing(rows)]
    if not len(rows):
        return
    clean = search.x[rows]
    room = search.threat.room(clean)
    state = start(clean, draw.of(rows), room)
    for step in range(steps):
        answer = search.slope(state[0], rows, loss, None if through is None else partial(through, step, state))
        still = search.standing(rows)
        if not still.all():
            rows, clean = rows[still], clean[still]
            room, answer, state = tuple(part[still] for part in room), kept(answer, still), kept(state, still)
            if not len(rows):
                return
        state = rule(step, state, answer, clean, room)
        hopeful = None if stays is None else stays(step, state)
        if hopeful is not None and not hopeful.all():
            rows, clean, state = rows[hopeful], clean[hopeful], kept(state, hopeful)
            room = tuple(part[hopeful] for part in room)
            if not len(rows):
                return
    search.scores(state[0], rows)


Tensors = TypeVar("Tensors", bound=tuple[Tensor, ...])


def kept(state: Tensors, still: Tensor) -> Tensors:
    """The same tuple of tensors for some of the examples: an index or a mask (n,)."""
    parts = [part[still] for part in state]
    kind = type(state)
    return kind(*parts) if hasattr(kind, "_fields") else kind(parts)
