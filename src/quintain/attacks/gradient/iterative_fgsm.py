"""The iterative fast gradient method: the loop of FGSM, BIM and the momentum attacks."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from quintain.attacks.ascent_loop import Init, gradient_ascent
from quintain.attacks.search import Evaluation, Search
from quintain.attacks.step_sizes import ascent_step, check_steps
from quintain.core.errors import DataError, SettingError
from quintain.threats.broadcast import expand_rows
from quintain.threats.parametric import identity
from quintain.threats.rng import ExampleRNG
from quintain.threats.threat import ProjectionCache, Threat


class MomentumState(NamedTuple):
    """Next points ``z`` (n, ...), and the direction so far (n, ...).

    The direction is in units of an average coordinate of a gradient.
    """

    z: Tensor
    velocity: Tensor


def iterative_fgsm(
    search: Search,
    *,
    steps: int,
    rel_step_size: float,
    decay: float = 0.0,
    init: Callable[[Tensor, ExampleRNG, ProjectionCache], Tensor] | None = None,
    smooth: Callable[[Tensor], Tensor] | None = None,
) -> None:
    r"""Run steepest steps of length ``rel_step_size * eps``, each along the gradients so far.

    The gradients are those of the cross-entropy.

    .. math::
        v_{t+1} = \mu v_t + \frac{g_t}{mean|g_t|}, \quad z_{t+1} = \Pi_x\big(z_t + \alpha s(v_{t+1})\big)

    Args:
        search: Runs the model, checks success and keeps each example's best point.
        steps: Gradients per example.
        rel_step_size: Length of a step, as a fraction of ``eps``.
        decay: :math:`\mu`: the fraction of the direction so far that is kept.
        init: Gives the first points; the clean ones if not given.
        smooth: Changes each gradient before it is used.
    """
    threat = search.threat

    def update(
        step: int,  # noqa: ARG001
        state: MomentumState,
        out: Evaluation,
        clean: Tensor,
        cache: ProjectionCache,
    ) -> MomentumState:
        gradient = out.gradient if smooth is None else smooth(out.gradient.nan_to_num(0.0, 0.0, 0.0))
        velocity = update_velocity(state.velocity, gradient, decay)
        return MomentumState(
            ascent_step(threat, rel_step_size * threat.eps, state.z, velocity, clean, cache), velocity
        )

    gradient_ascent(
        search,
        rng=search.rng,
        init=zero_velocity_init(threat, init),
        update=update,
        steps=steps,
        loss=search.goal.log_odds,
    )


def zero_velocity_init(
    threat: Threat, init: Callable[[Tensor, ExampleRNG, ProjectionCache], Tensor] | None = None
) -> Init[MomentumState]:
    """Return an ``Init`` with velocity 0, at the clean points or at those that ``init`` returns."""

    def first_state(clean: Tensor, rng: ExampleRNG, cache: ProjectionCache) -> MomentumState:
        z = identity(threat, clean) if init is None else init(clean, rng, cache)
        return MomentumState(z, torch.zeros_like(z))

    return first_state


def update_velocity(velocity: Tensor, gradient: Tensor, decay: float) -> Tensor:
    """Return the direction (n, ...) after one more gradient (n, ...), divided by its mean absolute value.

    With ``decay`` 0 it is the gradient itself. Entries that are not finite count as 0; a gradient that is 0
    everywhere adds nothing.
    """
    gradient = gradient.nan_to_num(0.0, 0.0, 0.0)
    if not decay:
        return gradient
    # Division by the mean absolute value gives all gradients the same weight, whatever their scale.
    size = gradient.flatten(1).abs().mean(1)
    return decay * velocity + gradient / expand_rows(torch.where(size > 0, size, 1), gradient)


def check_iterative_fgsm(steps: int, rel_step_size: float, decay: float = 0.0) -> None:
    """Raise if a setting is out of range.

    Raises:
        SettingError: If so.
    """
    check_steps(steps, rel_step_size)
    if not 0 <= decay <= 1:
        raise SettingError(f"decay = {decay}; expected a momentum factor from 0 to 1")


def check_images(name: str, x: Tensor) -> None:
    """Raise if inputs are not images.

    Raises:
        DataError: If so.
    """
    if x.dim() != 4:
        raise DataError(
            f"inputs of shape {tuple(x.shape)} for {name}; expected images (B, C, H, W): add the missing axes"
        )
