r"""The least value of a linear function over a threat around an example, box included: one function a norm.

.. math:: \min_{z \in ball(x),\; low \le z \le high} a \cdot z
    = a \cdot x - \max_{0 \le \delta \le r} |a| \cdot \delta

where :math:`r_i` is the room from :math:`x_i` to the wall on the side that lowers :math:`a_i z_i`, and the
ball bounds :math:`\delta`. Each function gives an upper bound of that largest loss that holds for whatever
multiplier it finds (weak duality), so that no search has to converge; what rounding in float64 loses is
charged by the caller.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from quintain.certify.rounding import power_of_two_below
from quintain.core.errors import SettingError
from quintain.threats.broadcast import channels_by_pixel
from quintain.threats.l0 import L0
from quintain.threats.l1 import L1
from quintain.threats.l2 import L2
from quintain.threats.linf import Linf
from quintain.threats.mask import Mask
from quintain.threats.shapes import shape_mask_like
from quintain.threats.threat import Threat

L2_STEPS = 12
"""Fixed-point steps for the multiplier of the L2 ball: each fixes the coordinates that reach the wall."""


def allowed_box(x: Tensor, threat: Threat, eps: Tensor | float) -> tuple[Tensor, Tensor]:
    """Return the least and the largest allowed value of each coordinate of ``x`` (B, *S), in float64.

    Args:
        x: Inputs in the data box, in float64.
        threat: One of ``MINIMA``.
        eps: Its radius, instead of its own: one number, or one for each input (B,).

    Raises:
        SettingError: For another threat.
    """
    if type(threat) not in MINIMA:
        raise SettingError(
            f"linear bounds know {', '.join(kind.__name__ for kind in MINIMA)}; got {threat!r}"
        )
    eps = torch.as_tensor(eps, dtype=x.dtype, device=x.device).reshape(-1, *[1] * (x.ndim - 1))
    if isinstance(threat, L0):
        eps = torch.where(eps >= 1, threat.high - threat.low, 0.0)
    lower, upper = (x - eps).clamp(min=threat.low), (x + eps).clamp(max=threat.high)
    if not isinstance(threat, Mask):
        return lower, upper
    inside = shape_mask_like(threat.shape, x)
    return torch.where(inside, lower, x), torch.where(inside, upper, x)


def linear_minimum(
    rows: Tensor, x: Tensor, threat: Threat, eps: float, columns: Tensor | None = None
) -> Tensor:
    """Return a lower bound of ``row . z`` over all allowed ``z`` (N,), up to float64's rounding.

    Args:
        rows: Linear functions (N, *S); or (N, W), the slopes at ``columns`` of those that are 0 elsewhere.
        x: One input (1, *S) in the data box, in float64.
        threat: One of ``MINIMA``.
        eps: Its radius, instead of its own.
        columns: Positions in ``x``, flattened (N, W), different ones in each row; None for all.

    Raises:
        SettingError: For another threat.
    """
    lower, upper = allowed_box(x, threat, eps)
    loss = MINIMA[type(threat)]
    if columns is not None and isinstance(threat, L0):
        # a pixel's channels may lie inside a window and outside
        rows = rows.new_zeros(len(rows), x.numel()).scatter_(1, columns, rows).view(-1, *x.shape[1:])
        columns = None
    if columns is not None:
        x, lower, upper = (values.flatten()[columns] for values in (x, lower, upper))
    if loss is None:
        # each coordinate goes to its wall
        return _dot(rows, (lower + upper) / 2) - _dot(rows.abs(), (upper - lower) / 2)
    room = torch.where(rows > 0, x - lower, upper - x)
    return _dot(rows, x) - loss(rows.abs(), room, eps)


def _dot(rows: Tensor, values: Tensor) -> Tensor:
    """Return the product of each row (N, *S) with values of its own (N, *S), or with the same (1, *S)."""
    if len(values) == 1:
        return rows.flatten(1) @ values.flatten()
    return (rows * values).flatten(1).sum(1)


def _l2_loss(steep: Tensor, room: Tensor, eps: float) -> Tensor:
    r"""Bound the largest loss over an L2 ball and a box.

    .. math:: \max_{0 \le \delta \le r,\, |\delta| \le \varepsilon} s \cdot \delta
        \;\le\; t \varepsilon^2 + \sum_i \max_{0 \le \delta_i \le r_i} (s_i \delta_i - t \delta_i^2)
        \quad \forall t > 0
    """
    steep, room = steep.flatten(1), room.flatten(1)
    if eps == 0:
        return torch.zeros_like(steep[:, 0])
    # Squares of numbers below 1e-162 are 0 in float64, so both factors are brought near 1 first, by powers of
    # two, which is exact; each is only made larger, so that nothing else is lost.
    slope_scale = power_of_two_below(steep.amax(1)).clamp(max=1.0)
    size_scale = min(1.0, 2.0 ** (math.frexp(eps)[1] - 1))
    steep = steep / slope_scale[:, None]
    eps, room = eps / size_scale, room.clamp(max=eps) / size_scale
    least = torch.minimum((steep * room).sum(1), eps * steep.norm(dim=1))
    t = steep.norm(dim=1) / (2 * eps)
    for _ in range(L2_STEPS):
        usable = t > 0
        step = torch.minimum(steep / (2 * torch.where(usable, t, 1.0))[:, None], room)
        bound = t * eps**2 + (steep * step - t[:, None] * step.square()).sum(1)
        least = torch.where(usable & (bound < least), bound, least)
        # the multiplier at which what has not reached the wall uses up what the rest has left of the ball
        at_wall = step >= room
        left = eps**2 - (room.square() * at_wall).sum(1)
        t = torch.where(left > 0, (steep * ~at_wall).norm(dim=1) / (2 * left.clamp(min=1e-300).sqrt()), 0.0)
    return least * size_scale * slope_scale


def _l1_loss(steep: Tensor, room: Tensor, eps: float) -> Tensor:
    r"""Bound the largest loss over an L1 ball and a box, a fractional knapsack.

    .. math:: \max_{0 \le \delta \le r,\, \sum \delta \le \varepsilon} s \cdot \delta
        \;\le\; t \varepsilon + \sum_i \max(s_i - t, 0)\, r_i \quad \forall t \ge 0

    Equal at the slope of the item at which the budget ends.
    """
    steep, room = steep.flatten(1), room.flatten(1)
    ordered, order = steep.sort(dim=1, descending=True)
    last = (room.gather(1, order).cumsum(1) < eps).sum(1, keepdim=True).clamp(max=steep.shape[1] - 1)
    t = ordered.gather(1, last)
    bound = t[:, 0] * eps + ((steep - t).clamp(min=0) * room).sum(1)
    return torch.minimum(bound, (steep * room).sum(1))


def _l0_loss(steep: Tensor, room: Tensor, eps: float) -> Tensor:
    """Return the largest loss where at most ``eps`` pixels change: those that lose most."""
    pixels = channels_by_pixel(steep * room).sum(1)
    return pixels.topk(min(int(eps), pixels.shape[1]), dim=1).values.sum(1)


MINIMA: dict[type[Any], Callable[[Tensor, Tensor, float], Tensor] | None] = {
    Linf: None,
    L2: _l2_loss,
    L1: _l1_loss,
    L0: _l0_loss,
    Mask: None,
}
"""By threat, a bound of the largest loss (N,), of slopes' sizes (N, *S), room (N, *S) and eps; None for a
box.
"""
