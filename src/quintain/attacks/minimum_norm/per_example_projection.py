"""Projections onto ball and box with one radius per example, and the norms that go with them."""

from collections.abc import Callable

import torch
from torch import Tensor

from quintain.attacks.minimum_norm.refinement import sum_channels
from quintain.core.threat_specs import threat_name
from quintain.threats.broadcast import expand_pixels, expand_rows, top_k_mask
from quintain.threats.piecewise_linear import l1_threshold, l2_scale
from quintain.threats.rounding import representable_box
from quintain.threats.threat import Threat

AbsoluteProjection = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Projects absolute changes (n, *S) from (changes, the most that the box allows (n, *S), radii (n,))."""


def project_to_radius(threat: Threat, z: Tensor, x: Tensor, radius: Tensor) -> Tensor:
    r"""Project onto the intersection of the box and a ball of radius (n,) per example, exactly.

    .. math:: \arg\min_p \|p - z\|_2 \;\text{ with }\; \|p - x\| \le r, \; low \le p \le high

    Every change keeps its sign, so the absolute changes :math:`u_i` are projected, with :math:`0 \le u_i \le
    cap_i`, the distance to the face of the box on that side.

    Args:
        threat: Gives the norm (``linf``, ``l2``, ``l1`` or ``l0``) and the box; its ``eps`` is not used.
        z: Points to project (n, *S).
        x: Clean inputs (n, *S).
        radius: Radii in the units of the threat (n,), not negative; infinite is allowed.
    """
    change = z - x
    low, high = representable_box(threat.low, threat.high, x.dtype)
    cap = torch.where(change > 0, high - x, x - low)
    projected = PROJECTIONS[threat_name(threat.spec)](change.abs(), cap, radius.to(x.dtype))
    return (x + change.sign() * projected).clamp(low, high)


def change_norm(threat: Threat, change: Tensor) -> Tensor:
    """Return the norm of each change (n, *S) as the threat measures it (n,)."""
    kind, flat = threat_name(threat.spec), change.flatten(1)
    if kind == "l0":
        return (sum_channels(change.abs()) > 0).sum(1).to(change.dtype)
    return torch.linalg.vector_norm(flat, ord={"linf": torch.inf, "l2": 2.0, "l1": 1.0}[kind], dim=1)


def dual_norm(threat: Threat, gradient: Tensor) -> Tensor:
    """Return the dual norm of each gradient (n,): the most that a change of norm 1 raises a linear
    function.
    """
    return torch.linalg.vector_norm(
        gradient.flatten(1), ord={"linf": 1.0, "l2": 2.0, "l1": torch.inf}[threat_name(threat.spec)], dim=1
    )


def _linf(change: Tensor, cap: Tensor, radius: Tensor) -> Tensor:
    return torch.minimum(torch.minimum(change, cap), expand_rows(radius, change))


def _l2(change: Tensor, cap: Tensor, radius: Tensor) -> Tensor:
    # one factor for all coordinates that the box does not cut (Karush-Kuhn-Tucker conditions)
    flat, caps = change.flatten(1), cap.flatten(1)
    return torch.minimum(l2_scale(flat, caps, radius[:, None]) * flat, caps).view_as(change)


def _l1(change: Tensor, cap: Tensor, radius: Tensor) -> Tensor:
    # one threshold for all coordinates that the box does not cut (Karush-Kuhn-Tucker conditions)
    flat, caps = change.flatten(1), cap.flatten(1)
    return torch.minimum((flat - l1_threshold(flat, caps, radius[:, None])).clamp(min=0), caps).view_as(
        change
    )


def _l0(change: Tensor, cap: Tensor, radius: Tensor) -> Tensor:
    """Keep the ``radius`` pixels whose change reduces the squared distance most; the others do not change."""
    cut = torch.minimum(change, cap)
    # without its change a pixel is u away, with it u - cut: the change saves u^2 - (u - cut)^2 = cut (2 u -
    # cut)
    saved = sum_channels(cut * (2 * change - cut))
    return cut * expand_pixels(top_k_mask(saved, radius), cut)


PROJECTIONS: dict[str, AbsoluteProjection] = {"linf": _linf, "l2": _l2, "l1": _l1, "l0": _l0}


def safe_divisor(values: Tensor) -> Tensor:
    """Return the non-negative values with 1 in place of 0."""
    return torch.where(values > 0, values, 1)


def safe_l2_norm(gradient: Tensor) -> Tensor:
    """Return the L2 norm of each gradient (n,), and 1 where it is 0."""
    return safe_divisor(torch.linalg.vector_norm(gradient.flatten(1), dim=1))
