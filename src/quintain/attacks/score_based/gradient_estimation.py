"""Gradient ascent with estimated gradients: finite differences of antithetic pairs of probes (NES, SPSA)."""

import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from quintain.attacks.ascent_loop import select_rows
from quintain.attacks.counted_model import MAX_BATCH
from quintain.attacks.goal import Loss
from quintain.attacks.search import Search
from quintain.core.errors import SettingError
from quintain.core.limits import require_at_least
from quintain.threats.rng import ExampleRNG
from quintain.threats.threat import ProjectionCache

State = TypeVar("State", bound=tuple[Tensor, ...])
"""The state of an attack: tensors with an entry for each example; the first holds the current points."""

EstimateUpdate = Callable[[float, State, Tensor, Tensor, ProjectionCache], State]
"""The next state from (fraction of the steps that are done, state, estimated gradient, clean inputs,
projection cache).
"""

Noise = Callable[[ExampleRNG, Tensor], Tensor]
"""Random directions of the shape of a tensor, each example's from its own stream."""


def ascend_estimated_gradient(
    search: Search,
    *,
    init: Callable[[Tensor], State],
    update: EstimateUpdate[State],
    noise: Noise,
    queries: int,
    pairs: int,
    sigma: float,
    loss: Loss,
) -> None:
    """Run ascent on the active examples from their clean points; finished examples cost nothing.

    A step costs ``2 * pairs`` probes and one query at the new point, which is checked for success. If the
    budget is too small for one step, fewer pairs are used.

    Args:
        search: Runs the model, checks success and keeps each example's best point.
        init: Gives the first state from clean inputs (n, *S).
        update: Gives the next state; its points must be allowed.
        noise: The directions of the probes.
        queries: Most queries per example.
        pairs: Pairs of probes per step.
        sigma: How far a probe goes along its direction, in the units of the data.
        loss: What is ascended.
    """
    rows = search.active_rows
    if not len(rows):
        return
    queries = min(queries, int(search.model.queries_left(rows).amax()) - 1)
    # Fewer pairs where not even one step of 2 * pairs probes and 1 query fits the budget.
    pairs = min(pairs, (queries - 1) // 2)
    if not pairs:
        return
    steps = queries // (2 * pairs + 1)
    clean = search.x[rows]
    cache, current = search.threat.projection_cache(clean), init(clean)
    for step in range(steps):
        active = search.is_active(rows, 2 * pairs + 1)
        if not active.all():
            rows, clean, current = rows[active], clean[active], select_rows(current, active)
            cache = tuple(part[active] for part in cache)
            if not len(rows):
                return
        gradient = estimate_gradient(
            search, current[0], rows, search.rng.fold_in(step), noise, pairs, sigma, loss
        )
        current = update(step / steps, current, gradient, clean, cache)
        search.query(current[0], rows)


def estimate_gradient(
    search: Search,
    z: Tensor,
    rows: Tensor,
    rng: ExampleRNG,
    noise: Noise,
    pairs: int,
    sigma: float,
    loss: Loss,
) -> Tensor:
    r"""Estimate the loss' gradient (n, *S) at the current points from m antithetic pairs of probes.

    .. math::
        \hat g = \frac{1}{2 \sigma m} \sum_{i=1}^{m} u_i
        \big(\ell(f(z + \sigma u_i)) - \ell(f(z - \sigma u_i))\big)

    The probes are clipped to the box, and are not recorded as candidates.
    """
    gradients = [z[:0]]
    for points, chunk_rows in zip(
        *(part.split(max(1, MAX_BATCH // (2 * pairs))) for part in (z, rows)), strict=True
    ):
        directions = noise(rng.select(chunk_rows), points.new_empty(len(points), pairs, *points.shape[1:]))
        offsets = sigma * directions
        probes = torch.cat((points[:, None] + offsets, points[:, None] - offsets), 1).clamp(
            search.threat.low, search.threat.high
        )
        probe_rows = chunk_rows.repeat_interleave(2 * pairs)
        up, down = (
            loss(search.probe_in_parts(probes.flatten(0, 1), probe_rows), probe_rows)
            .view(len(points), 2, pairs)
            .unbind(1)
        )
        weight = ((up - down) / (2 * sigma * pairs)).to(points.dtype)
        gradients.append((weight[..., None] * directions.flatten(2)).sum(1).view_as(points))
    return torch.cat(gradients)


def cosine_decay(progress: float) -> float:
    """Return a factor that falls from 1 to nearly 0 along a cosine."""
    return (1 + math.cos(math.pi * progress)) / 2


def check_probe_settings(queries: int, pairs: int, sigma: float, rel_step_size: float) -> None:
    """Check the settings of an attack that estimates gradients.

    Raises:
        SettingError: If a setting is out of range.
    """
    require_at_least(3, queries=queries)
    require_at_least(1, pairs=pairs)
    for name, value in (("sigma", sigma), ("rel_step_size", rel_step_size)):
        if not 0 < value < math.inf:
            raise SettingError(f"{name} = {value}; expected a positive finite number")
