"""The step that gradient attacks and adversarial training share."""

import math

from torch import Tensor

from quintain.core.errors import SettingError
from quintain.core.limits import at_least
from quintain.threats.ball import Ball, Room


def lengths(eps: float, steps: int, rate: float) -> tuple[float, ...]:
    r"""Length of each step, falling to nearly nothing so that the last ones settle on the optimum.

    .. math:: \alpha_t = rate \cdot \varepsilon \cdot \tfrac12 (1 + \cos(\pi t / steps)), \quad t = 0 \dots steps - 1

    Args:
        eps: The threat's radius.
        steps: How many.
        rate: Length of the first step, as a share of ``eps``.

    Raises:
        SettingError: If there is no step, or ``rate`` is not positive and finite.
    """
    check_steps(steps, rate)
    return tuple([falling(rate * eps, 0.0, step, steps) for step in range(steps)])


def check_steps(steps: int, rate: float) -> None:
    """Refuse what ``lengths`` cannot be made of.

    Raises:
        SettingError: If there is no step, or ``rate`` is not positive and finite.
    """
    at_least(1, steps=steps)
    if not 0 < rate < math.inf:
        raise SettingError(f"rate = {rate}; expected a positive share of eps, such as 2")


def falling(first: float, share: float, step: int, steps: int) -> float:
    r"""A cosine from ``first`` at step 0 down to ``share`` of it after the last.

    .. math:: first \cdot \big(share + (1 - share) \tfrac12 (1 + \cos(\pi\, step / steps))\big)
    """
    return first * (share + (1 - share) * (1 + math.cos(math.pi * step / steps)) / 2)


def advance(threat: Ball, length: float, z: Tensor, gradient: Tensor, x: Tensor, room: Room) -> Tensor:
    """One steepest step from ``z``, projected; a coordinate without a finite gradient stays.

    .. math:: z' = \\Pi_x(z + s), \\quad s = \\arg\\max_{\\|s\\| \\le length} \\langle s, g \\rangle
    """
    return threat.project(z + threat.ascend(gradient.nan_to_num(0.0, 0.0, 0.0), length), x, room)
