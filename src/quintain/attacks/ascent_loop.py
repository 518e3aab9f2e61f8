"""The loop that every gradient attack shares: ask for a slope, drop who is done, step."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from torch import Tensor

from quintain.attacks.goal import Loss
from quintain.attacks.search import Evaluation, Search
from quintain.threats.rng import ExampleRNG
from quintain.threats.threat import ProjectionCache

State = TypeVar("State", bound=tuple[Tensor, ...])
"""What a rule remembers of each example: tensors whose first axis is the example; the first of them holds the next points."""

Init = Callable[[Tensor, ExampleRNG, ProjectionCache], State]
"""The first state for clean inputs (n, *S), from their streams of random numbers and the threat's room."""

Update = Callable[[int, State, Evaluation, Tensor, ProjectionCache], State]
"""The next state from (step, state, the model's answer at the state's points, clean inputs, the threat's room)."""


KeepMask = Callable[[int, State], Tensor | None]
"""Which examples go on (n,) bool, from (step, state); None where none leaves."""

InputTransform = Callable[[int, State, Tensor], Tensor]
"""The images (n, *S) that the model is shown instead of the candidates', from (step, state, the candidates' images)."""


def gradient_ascent(
    search: Search,
    *,
    rng: ExampleRNG,
    init: Init[State],
    update: Update[State],
    steps: int,
    loss: Loss,
    rows: Tensor | None = None,
    keep: KeepMask[State] | None = None,
    input_transform: InputTransform[State] | None = None,
) -> None:
    """Gradient ascent on the examples still standing.

    Each is asked ``steps`` times with a gradient and once without, until it is done; from then on it costs
    nothing.

    Args:
        search: Asks, judges and keeps.
        rng: The streams of random numbers of the whole batch, of this start alone.
        init: Gives the first state.
        update: Gives the next state; its points must be allowed.
        steps: Gradients per example.
        loss: What is ascended.
        rows: The examples to attack (n,); all that stand if not given.
        keep: Which examples are worth another step, once a state is known; the others leave this climb and
            cost nothing more.
        input_transform: What the gradients are taken through, if not at the candidates themselves; see
            ``Search.slope``.
    """
    rows = search.active_rows if rows is None else rows[search.is_active(rows)]
    if not len(rows):
        return
    clean = search.x[rows]
    cache = search.threat.projection_cache(clean)
    state = init(clean, rng.select(rows), cache)
    for step in range(steps):
        out = search.value_and_grad(state[0], rows, loss, None if input_transform is None else partial(input_transform, step, state))
        active = search.is_active(rows)
        if not active.all():
            rows, clean = rows[active], clean[active]
            cache, out, state = tuple(part[active] for part in cache), select_rows(out, active), select_rows(state, active)
            if not len(rows):
                return
        state = update(step, state, out, clean, cache)
        keeps = None if keep is None else keep(step, state)
        if keeps is not None and not keeps.all():
            rows, clean, state = rows[keeps], clean[keeps], select_rows(state, keeps)
            cache = tuple(part[keeps] for part in cache)
            if not len(rows):
                return
    search.query(state[0], rows)


Tensors = TypeVar("Tensors", bound=tuple[Tensor, ...])


def select_rows(state: Tensors, active: Tensor) -> Tensors:
    """The same tuple of tensors for some of the examples: an index or a mask (n,)."""
    parts = [part[active] for part in state]
    kind = type(state)
    return kind(*parts) if hasattr(kind, "_fields") else kind(parts)
