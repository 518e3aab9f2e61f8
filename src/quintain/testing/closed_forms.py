"""Closed forms on linear models, box included: the most that a ball allows, the least that crosses the line.

Two classes, scores 0 and :math:`w \\cdot z + b`: an attack's best gain and its smallest change are known
exactly for ``linf``, ``l2``, ``l1``, ``l0`` and ``mask``, and so is what a certifier may claim.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from quintain.attacks.outcome import Model
from quintain.core.threat_specs import threat_name
from quintain.models import Classifier
from quintain.testing.models import random_inputs
from quintain.threats import Mask, Threat
from quintain.threats.shapes import shape_mask

CLOSED_FORMS = ("linf", "l2", "l1", "l0", "mask")
"""Kinds of threats that closed forms are known for."""

BISECTIONS = 300
DISTANCES = (0.02, 0.05, 0.1, 0.17, 0.25)
"""How far, in L2, the examples of a half-space are from its boundary."""


class LinearTask(NamedTuple):
    """A two-class linear model, and inputs of class 0 of which a threat can break some and some not.

    Args:
        model: Logits (B, 2).
        x: Inputs (B, *S).
        weight: (F,) the normal w of the boundary.
        need: (B,) by how much ``w . z`` has to rise before an input is misclassified.
    """

    model: Model
    x: Tensor
    weight: Tensor
    need: Tensor


def linear_task(
    threat: Threat, *, count: int = 24, shape: tuple[int, ...] = (1, 10, 6), seed: int = 0
) -> LinearTask:
    """Return a linear task whose bias lets a threat break about half of the inputs.

    Args:
        threat: One of ``CLOSED_FORMS``.
        count: Number of inputs.
        shape: Shape of an input.
        seed: Of weights and inputs.
    """
    generator = torch.Generator().manual_seed(3 + seed)
    x = random_inputs(count, *shape, seed=5 + seed)
    w = torch.randn(x[0].numel(), generator=generator, dtype=torch.float64)
    bias = -(x.flatten(1) @ w + 0.7 * best_linear_gain(threat, w, x)).median()

    def linear(z: Tensor) -> Tensor:
        return torch.stack([torch.zeros(len(z), dtype=z.dtype), z.flatten(1) @ w + bias], 1)

    return LinearTask(linear, x, w, -(x.flatten(1) @ w + bias))


def best_linear_gain(threat: Threat, w: Tensor, x: Tensor) -> Tensor:
    """Return the largest rise of ``w . z`` that ball and box allow (B,).

    Args:
        threat: One of ``CLOSED_FORMS``.
        w: Slopes (F,).
        x: Inputs (B, *S) of F numbers each.
    """
    cap, steep = room_along(threat, w, x), w.abs()
    kind = _closed_kind(threat)
    if kind in ("linf", "mask"):
        # each coordinate moves by eps, or to the wall
        return (steep * cap.clamp(max=threat.eps)).sum(1)
    if kind == "l2":
        # the change is min(l w, cap), its length eps: find the level l (KKT)
        length = cap.new_full((len(x), 1), threat.eps**2)
        level = _find_level(torch.ones_like(cap), lambda l: ((l * steep) ** 2, cap**2), length)
        return (steep * torch.minimum(level * steep, cap)).sum(1)
    if kind == "l1":
        # the steepest coordinates first, each to the wall, until eps is spent
        caps, slopes = _steepest_first(steep, cap)
        before = caps.cumsum(1) - caps
        return (slopes * torch.minimum(caps, (threat.eps - before).clamp(min=0))).sum(1)
    gains = _pixel_gains(w, cap, x)
    return gains.topk(min(int(threat.eps), gains.shape[1]), dim=1).values.sum(1)


def smallest_linear_change(threat: Threat, w: Tensor, need: Tensor, x: Tensor) -> Tensor:
    """Return the size of the smallest change that raises ``w . z`` by ``need`` (B,).

    It is 0 where none is needed, and infinite where the box forbids it.

    Args:
        threat: One of ``CLOSED_FORMS``; its ``eps`` does not matter.
        w: Slopes (F,).
        need: (B,) by how much it has to rise.
        x: Inputs (B, *S) of F numbers each.
    """
    cap, steep = room_along(threat, w, x), w.abs()
    kind = _closed_kind(threat)
    if kind in ("linf", "mask"):
        size = _find_level(steep, lambda l: (l, cap), need[:, None]).squeeze(1)
    elif kind == "l2":
        level = _find_level(steep, lambda l: (l * steep, cap), need[:, None])
        size = torch.minimum(level * steep, cap).norm(dim=1)
    elif kind == "l1":
        caps, slopes = _steepest_first(steep, cap)
        before = (caps * slopes).cumsum(1) - caps * slopes
        size = torch.minimum(caps, ((need[:, None] - before) / slopes).clamp(min=0)).sum(1)
    else:
        gains = _pixel_gains(w, cap, x).sort(dim=1, descending=True).values.cumsum(1)
        size = 1.0 + (gains < need[:, None]).sum(1)
    size = torch.where((steep * cap).sum(1) < need, torch.inf, size)
    return torch.where(need < 0, 0.0, size)


def room_along(threat: Threat, w: Tensor, x: Tensor) -> Tensor:
    """Return how far each coordinate (B, F) can move in the direction that raises ``w . z``."""
    flat = x.flatten(1)
    room = torch.where(w > 0, threat.high - flat, flat - threat.low)
    if isinstance(threat, Mask):
        return room * shape_mask(threat.shape, *x.shape[-2:]).expand_as(x).flatten(1)
    return room


@dataclass(frozen=True, slots=True)
class HalfSpace:
    """A linear classifier whose prediction flips at known distances, under Gaussian noise as without.

    Args:
        model: Two classes over inputs (B, 2).
        x: Inputs (B, 2), float32.
        y: Their classes (B,).
        l2_distance: (B,) float64, exact L2 distances to the boundary.
        weight: (2,) float64, its normal.
    """

    model: Classifier
    x: Tensor
    y: Tensor
    l2_distance: Tensor
    weight: Tensor

    def distance(self, kind: str) -> Tensor:
        """Return the exact distances (B,) to the boundary: the margin over the dual norm of the weights.

        Args:
            kind: ``linf``, ``l2`` or ``l1``.
        """
        dual = {"linf": 1.0, "l2": 2.0, "l1": math.inf}[kind]
        return self.l2_distance * self.weight.norm() / torch.linalg.vector_norm(self.weight, dual)


def half_space(copies: int = 1, *, normal: tuple[float, float] = (0.6, -0.8)) -> HalfSpace:
    """Return a half-space with ``copies`` of an example at each of ``DISTANCES``.

    Args:
        copies: Of each example.
        normal: Of its boundary, of length 1.
    """
    direction, point = torch.tensor(normal), torch.tensor([0.5, 0.25])
    linear = nn.Linear(2, 1)
    net = nn.Sequential(nn.Flatten(), linear).eval()
    with torch.no_grad():
        linear.weight.copy_(direction[None])
        linear.bias.fill_(-float(point @ direction))
    distances = torch.tensor(DISTANCES).repeat_interleave(copies)
    x = (point + distances[:, None] * direction).contiguous()
    weight = linear.weight.detach().double()[0]
    exact = (x.double() @ weight + linear.bias.detach().double()) / weight.norm()
    return HalfSpace(Classifier(net), x, (exact > 0).long(), exact.abs(), weight)


def _closed_kind(threat: Threat) -> str:
    kind = threat_name(threat.spec)
    if kind not in CLOSED_FORMS:
        raise ValueError(f"no closed form for {kind}; expected one of {', '.join(CLOSED_FORMS)}")
    return kind


def _find_level(rise: Tensor, grow: Callable[[Tensor], tuple[Tensor, Tensor]], need: Tensor) -> Tensor:
    """The level l at which a rising function reaches what is needed (B, 1), by bisection."""
    low, high = torch.zeros_like(need), torch.full_like(need, 1e7)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        short = (rise * torch.minimum(*grow(middle))).sum(1, keepdim=True) < need
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    return high


def _steepest_first(steep: Tensor, cap: Tensor) -> tuple[Tensor, Tensor]:
    """Room (B, F) and slopes (B, F) of each coordinate, the steepest coordinates first."""
    order = steep.expand_as(cap).argsort(1, descending=True)
    return cap.gather(1, order), steep.expand_as(cap).gather(1, order)


def _pixel_gains(w: Tensor, cap: Tensor, x: Tensor) -> Tensor:
    """What each pixel (B, P) adds when all its channels move as far as they can."""
    gains = w.abs() * cap
    return gains.view(len(x), x.shape[1], -1).sum(1) if x.dim() == 4 else gains
