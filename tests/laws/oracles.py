"""Closed forms on a linear model, with the box: the most that a ball allows, and the least that crosses the
line.
"""

import torch
from torch import Tensor

from quintain.threats import Mask, Threat
from quintain.threats.shapes import shape_mask


def room_along(threat: Threat, w: Tensor, x: Tensor) -> Tensor:
    """How far each coordinate (B, F) can move in the direction that raises ``w . z``."""
    flat = x.flatten(1)
    room = torch.where(w > 0, threat.high - flat, flat - threat.low)
    return (
        room * shape_mask(threat.shape, *x.shape[-2:]).expand_as(x).flatten(1)
        if isinstance(threat, Mask)
        else room
    )


def level(rise: Tensor, grow: object, need: Tensor) -> Tensor:
    """The level l at which a rising function reaches what is needed (B, 1), by bisection."""
    low, high = torch.zeros_like(need), torch.full_like(need, 1e7)
    for _ in range(300):
        middle = (low + high) / 2
        short = (rise * torch.minimum(*grow(middle))).sum(1, keepdim=True) < need  # type: ignore[operator]
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    return high


def pixel_gains(w: Tensor, cap: Tensor, x: Tensor) -> Tensor:
    """What each pixel (B, P) adds when all its channels move as far as they can."""
    gains = w.abs() * cap
    return gains.view(len(x), x.shape[1], -1).sum(1) if x.dim() == 4 else gains


def best_linear_gain(threat: Threat, w: Tensor, x: Tensor) -> Tensor:
    """The largest rise of ``w . z`` that ball and box allow (B,)."""
    cap, steep = room_along(threat, w, x), w.abs()
    kind = threat.spec.partition(":")[0]
    if kind in ("linf", "mask"):
        return (steep * cap.clamp(max=threat.eps)).sum(1)
    if kind == "l2":
        full = cap.new_full((len(x), 1), threat.eps**2)
        reach = level(torch.ones_like(cap), lambda l: ((l * steep) ** 2, cap**2), full)
        return (steep * torch.minimum(reach * steep, cap)).sum(1)
    if kind == "l1":
        order = steep.expand_as(cap).argsort(1, descending=True)
        caps, slopes = cap.gather(1, order), steep.expand_as(cap).gather(1, order)
        before = caps.cumsum(1) - caps
        return (slopes * torch.minimum(caps, (threat.eps - before).clamp(min=0))).sum(1)
    if kind == "l0":
        gains = pixel_gains(w, cap, x)
        return gains.topk(min(int(threat.eps), gains.shape[1]), dim=1).values.sum(1)
    raise AssertionError(f"no closed form for {kind}")


def smallest_linear_change(threat: Threat, w: Tensor, need: Tensor, x: Tensor) -> Tensor:
    """The size of the smallest change that raises ``w . z`` by ``need`` (B,); 0 where none is needed,
    infinite where the box forbids it.
    """
    cap, steep = room_along(threat, w, x), w.abs()
    kind = threat.spec.partition(":")[0]
    if kind in ("linf", "mask"):
        size = level(steep, lambda l: (l, cap), need[:, None]).squeeze(1)
    elif kind == "l2":
        reach = level(steep, lambda l: (l * steep, cap), need[:, None])
        size = torch.minimum(reach * steep, cap).norm(dim=1)
    elif kind == "l1":
        order = steep.expand_as(cap).argsort(1, descending=True)
        caps, slopes = cap.gather(1, order), steep.expand_as(cap).gather(1, order)
        before = (caps * slopes).cumsum(1) - caps * slopes
        size = torch.minimum(caps, ((need[:, None] - before) / slopes).clamp(min=0)).sum(1)
    elif kind == "l0":
        gains = pixel_gains(w, cap, x).sort(dim=1, descending=True).values.cumsum(1)
        size = 1.0 + (gains < need[:, None]).sum(1)
    else:
        raise AssertionError(f"no closed form for {kind}")
    size = torch.where((steep * cap).sum(1) < need, torch.inf, size)
    return torch.where(need < 0, 0.0, size)
