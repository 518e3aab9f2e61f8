"""Step sizes and the projected step that gradient attacks and adversarial training share."""

import math

from torch import Tensor

from quintain.core.errors import SettingError
from quintain.core.limits import require_at_least
from quintain.threats.threat import ProjectionCache, Threat


def cosine_step_sizes(eps: float, steps: int, rel_step_size: float) -> tuple[float, ...]:
    r"""Return the size of each step: a cosine down to nearly 0, so that the last steps converge.

    .. math::
        \alpha_t = r \cdot \varepsilon \cdot \tfrac12 (1 + \cos(\pi t / steps)), \quad t = 0 \dots steps - 1

    Args:
        eps: The threat's radius.
        steps: Number of steps.
        rel_step_size: Size of the first step as a fraction of ``eps``, r.

    Raises:
        SettingError: If there is no step, or ``rel_step_size`` is not positive and finite.
    """
    check_steps(steps, rel_step_size)
    return tuple([cosine_decay(rel_step_size * eps, 0.0, step, steps) for step in range(steps)])


def check_steps(steps: int, rel_step_size: float) -> None:
    """Raise if there is no step or the step size is not positive.

    Raises:
        SettingError: If there is no step, or ``rel_step_size`` is not positive and finite.
    """
    require_at_least(1, steps=steps)
    if not 0 < rel_step_size < math.inf:
        raise SettingError(f"rel_step_size = {rel_step_size}; expected a positive fraction of eps, such as 2")


def cosine_decay(first: float, final_fraction: float, step: int, steps: int) -> float:
    r"""Return a cosine from ``first`` at step 0 down to ``final_fraction`` of it after the last.

    .. math:: first \cdot \big(final + (1 - final) \tfrac12 (1 + \cos(\pi\, step / steps))\big)
    """
    return first * (final_fraction + (1 - final_fraction) * (1 + math.cos(math.pi * step / steps)) / 2)


def ascent_step(
    threat: Threat, step_size: float, z: Tensor, gradient: Tensor, x: Tensor, cache: ProjectionCache
) -> Tensor:
    """Make one projected steepest-ascent step from ``z``; a coordinate without a finite gradient stays.

    .. math:: z' = \\Pi_x(z + s), \\quad s = \\arg\\max_{\\|s\\| \\le length} \\langle s, g \\rangle
    """
    return threat.project(z + threat.steepest_step(gradient.nan_to_num(0.0, 0.0, 0.0), step_size), x, cache)
