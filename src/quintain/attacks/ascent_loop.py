"""The loop that all gradient attacks share: forward and backward pass, drop finished examples, update."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from torch import Tensor

from quintain.attacks.goal import Loss
from quintain.attacks.search import Evaluation, Search
from quintain.threats.rng import ExampleRNG
from quintain.threats.threat import ProjectionCache

State = TypeVar("State", bound=tuple[Tensor, ...])
"""The state of an attack: tensors whose first axis is the example.

The first of them holds the next points.
"""

Init = Callable[[Tensor, ExampleRNG, ProjectionCache], State]
"""Make the first state from clean inputs (n, *S), their random numbers and the projection cache."""

Update = Callable[[int, State, Evaluation, Tensor, ProjectionCache], State]
"""Make the next state from (step, state, evaluation at the state's points, clean inputs, projection cache).
"""


KeepMask = Callable[[int, State], Tensor | None]
"""Make a mask (n,) of the examples to keep from (step, state); None keeps all."""

InputTransform = Callable[[int, State, Tensor], Tensor]
"""Make the images (n, *S) that the model receives from (step, state, the candidates' images)."""


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

    Each costs a forward and a backward pass per step and one forward pass at the end; a finished example
    costs nothing more.

    Args:
        search: Runs the model, checks success and keeps each example's best point.
        rng: Random numbers of the whole batch, for this run alone.
        init: Makes the first state.
        update: Makes the next state; its points must be allowed.
        steps: Gradients per example.
        loss: What is maximized.
        rows: The examples to attack (n,); all active ones if not given.
        keep: Which examples are worth another step; the others leave this run and cost nothing more.
        input_transform: What the model receives in place of the candidates; see ``Search.value_and_grad``.
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
        # drop examples that succeeded, erred or are out of budget; all state tensors shrink together
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
        keeps = None if keep is None else keep(step, state)
        if keeps is not None and not keeps.all():
            rows, clean, state = rows[keeps], clean[keeps], select_rows(state, keeps)
            cache = tuple(part[keeps] for part in cache)
            if not len(rows):
                return
    # one forward pass at the last points, which have had no query yet
    search.query(state[0], rows)


Tensors = TypeVar("Tensors", bound=tuple[Tensor, ...])


def select_rows(state: Tensors, active: Tensor) -> Tensors:
    """Index every tensor of a state by an index or a mask of examples (n,)."""
    parts = [part[active] for part in state]
    kind = type(state)
    return kind(*parts) if hasattr(kind, "_fields") else kind(parts)
