"""The loop of the gradient attacks: forward and backward pass, drop finished examples, update."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from torch import Tensor

from quintain.attacks.goal import Loss
from quintain.attacks.search import Evaluation, Search
from quintain.threats.rng import ExampleRNG
from quintain.threats.threat import ProjectionCache

State = TypeVar("State", bound=tuple[Tensor, ...])
"""The state of an attack: tensors with an entry for each example; the first holds the next points."""

Init = Callable[[Tensor, ExampleRNG, ProjectionCache], State]
"""Makes the first state from clean inputs (n, *S), their random numbers and the projection cache."""

Update = Callable[[int, State, Evaluation, Tensor, ProjectionCache], State]
"""Makes the next state from (step, state, evaluation at its points, clean inputs, projection cache)."""

KeepMask = Callable[[int, State], Tensor | None]
"""Makes the mask (n,) of the examples to keep from (step, state); None keeps all."""

InputTransform = Callable[[int, State, Tensor], Tensor]
"""Makes the images (n, *S) that the model receives from (step, state, the images at the state's points)."""


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
    """Run gradient ascent on the active examples.

    An active example costs a forward and a backward pass per step and one forward pass at the end; a finished
    one costs nothing more.

    Args:
        search: Runs the model, checks success and keeps each example's best point.
        rng: Random numbers of all examples of the search, for this run alone.
        init: Makes the first state.
        update: Makes the next state; its points must be allowed.
        steps: Gradients per example.
        loss: What is maximized.
        rows: The examples to attack (n,); all active ones if not given.
        keep: Which examples are worth another step; the others leave this run and cost nothing more.
        input_transform: Makes what the model receives in place of the points; see ``Search.value_and_grad``.
    """
    rows = search.active_rows if rows is None else rows[search.is_active(rows)]
    if not len(rows):
        return
    clean = search.x[rows]
    cache = search.threat.projection_cache(clean)
    state = init(clean, rng.select(rows), cache)
    for step in range(steps):
        # forward and backward pass
        out = search.value_and_grad(
            state[0], rows, loss, None if input_transform is None else partial(input_transform, step, state)
        )
        # drop examples that succeeded, gave NaN or are out of budget; all tensors shrink together
        active = search.is_active(rows)
        if not active.all():
            rows, clean = rows[active], clean[active]
            cache, out, state = (
                tuple(part[active] for part in cache),
                select_rows(out, active),
                select_rows(state, active),
            )
            if not len(rows):
                return
        state = update(step, state, out, clean, cache)
        # drop examples that the attack gives up
        kept = None if keep is None else keep(step, state)
        if kept is not None and not kept.all():
            rows, clean, state = rows[kept], clean[kept], select_rows(state, kept)
            cache = tuple(part[kept] for part in cache)
            if not len(rows):
                return
    # the last update moved the points: query them once more
    search.query(state[0], rows)


Tensors = TypeVar("Tensors", bound=tuple[Tensor, ...])


def select_rows(state: Tensors, rows: Tensor) -> Tensors:
    """Return the state with every tensor indexed by ``rows``: indices of examples, or a mask (n,)."""
    parts = [part[rows] for part in state]
    kind = type(state)
    # a NamedTuple takes its fields one by one, a plain tuple takes them as one sequence
    return kind(*parts) if hasattr(kind, "_fields") else kind(parts)
