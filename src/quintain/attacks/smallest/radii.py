"""Projections onto ball and box where every example has its own radius, and the norms that go with them."""

from collections.abc import Callable

import torch
from torch import Tensor

from quintain.attacks.smallest.hyperplane import level
from quintain.attacks.smallest.pixels import highest, per_pixel, spread
from quintain.core.tokens import kind_of
from quintain.threats.ball import Ball
from quintain.threats.rounding import box_inside

Projection = Callable[[Tensor, Tensor, Tensor], Tensor]
"""The nearest changes (n, *S) to given ones, from (changes, their caps (n, *S), radii (n,)): non-negative, as both are sizes."""

PASSES = 60
"""More than the 5 to 15 that the threshold of an L1 projection takes, and enough for its bounds to meet in float32."""


def project(threat: Ball, z: Tensor, x: Tensor, radius: Tensor) -> Tensor:
    r"""The nearest points (n, *S) of box and balls with a radius (n,) for each example: exact, and not one set after the other.

    .. math:: \arg\min_p \|p - z\|_2 \;\text{ with }\; \|p - x\| \le r, \; low \le p \le high

    Every change keeps its sign, so this is a problem of sizes :math:`0 \le u_i \le cap_i`, cap being the room to the box on that side.

    Args:
        threat: Its kind (``linf``, ``l2``, ``l1`` or ``l0``) and its box; its ``eps`` is not looked at.
        z: Points to project (n, *S).
        x: Clean inputs (n, *S).
        radius: In the units of the threat (n,), not negative; infinite is allowed.
    """
    change = z - x
    low, high = box_inside(threat.low, threat.high, x.dtype)
    cap = torch.where(change > 0, high - x, x - low)
    size = PROJECTIONS[kind_of(threat.token)](change.abs(), cap, radius.to(x.dtype))
    return (x + change.sign() * size).clamp(low, high)


def length(threat: Ball, change: Tensor) -> Tensor:
    """The size of each change (n, *S), in the threat's norm: (n,)."""
    kind, rows = kind_of(threat.token), change.flatten(1)
    if kind == "l0":
        return (per_pixel(change.abs()) > 0).sum(1).to(change.dtype)
    return torch.linalg.vector_norm(rows, ord={"linf": torch.inf, "l2": 2.0, "l1": 1.0}[kind], dim=1)


def steepness(threat: Ball, gradient: Tensor) -> Tensor:
    """The most that a linear function rises per unit of change, without the box: the dual norm of its gradient (n,)."""
    return torch.linalg.vector_norm(gradient.flatten(1), ord={"linf": 1.0, "l2": 2.0, "l1": torch.inf}[kind_of(threat.token)], dim=1)


def _linf(size: Tensor, cap: Tensor, radius: Tensor) -> Tensor:
    return torch.minimum(torch.minimum(size, cap), column(radius, size))


def _l2(size: Tensor, cap: Tensor, radius: Tensor) -> Tensor:
    r"""All sizes times the largest share :math:`s \le 1` with :math:`\sum_i \min(s u_i, cap_i)^2 \le r^2`, which is linear in s^2."""
    rows, caps = size.flatten(1), cap.flatten(1)
    squares, ends = rows.square(), caps.square()
    share = level(squares, ends, ends / squares, radius[:, None].square()).sqrt().clamp(max=1)
    return torch.minimum(share * rows, caps).view_as(size)


def _l1(size: Tensor, cap: Tensor, radius: Tensor) -> Tensor:
    r"""Least t >= 0 with :math:`\sum_i clip(u_i - t, 0, cap_i) \le r`: Newton between two bounds, and their middle where it leaves them."""
    rows, caps, radius = size.flatten(1), cap.flatten(1), radius[:, None]
    low, high = torch.zeros_like(radius), rows.amax(1, keepdim=True)
    cut, done = low.clone(), torch.zeros_like(radius, dtype=torch.bool)
    for _ in range(PASSES):
        left = (rows - cut).clamp(min=0)
        free = (left > 0) & (left < caps)
        excess = torch.minimum(left, caps).sum(1, keepdim=True) - radius
        low, high = torch.where(excess > 0, cut, low), torch.where(excess > 0, high, cut)
        newton = cut + excess / free.sum(1, keepdim=True)
        inside = (newton > low) & (newton < high)
        following = torch.where(inside, newton, (low + high) / 2)
        done = done | (excess.abs() <= 4 * torch.finfo(rows.dtype).eps * radius) | ((cut == 0) & (excess <= 0)) | (following == cut)
        if done.all():
            break
        cut = torch.where(done, cut, following)
    return torch.minimum((rows - cut).clamp(min=0), caps).view_as(size)


def _l0(size: Tensor, cap: Tensor, radius: Tensor) -> Tensor:
    """The pixels that come nearest by being changed: a change of u that the box cuts at c saves u^2 - (u - c)^2."""
    cut = torch.minimum(size, cap)
    saved = per_pixel(cut * (2 * size - cut))
    return cut * spread(highest(saved, radius), cut)


PROJECTIONS: dict[str, Projection] = {"linf": _linf, "l2": _l2, "l1": _l1, "l0": _l0}


def column(values: Tensor, like: Tensor) -> Tensor:
    """One value per example (n,), shaped to broadcast over (n, *S)."""
    return values.view(-1, *[1] * (like.dim() - 1))


def divisor(values: Tensor) -> Tensor:
    """The same non-negative values, with 1 for 0."""
    return torch.where(values > 0, values, 1)


def euclidean(gradient: Tensor) -> Tensor:
    """The length of each gradient (n,), in L2, and 1 where it is zero."""
    return divisor(torch.linalg.vector_norm(gradient.flatten(1), dim=1))
