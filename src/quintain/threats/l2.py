"""The L2 ball."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from quintain.threats.broadcast import expand_rows
from quintain.threats.norm_ball import NormBall
from quintain.threats.piecewise_linear import l2_scale
from quintain.threats.rng import ExampleRNG
from quintain.threats.rounding import representable_box
from quintain.threats.threat import ProjectionCache, contains


@dataclass(frozen=True, slots=True)
class L2(NormBall):
    r"""The change may have a Euclidean length of at most ``eps``, inside the data box.

    .. math:: \{z : \|z - x\|_2 \le \varepsilon,\; low \le z \le high\}

    Args:
        eps: Radius, in the units of the data.
        low, high: The data box.

    Raises:
        SettingError: If ``eps`` is negative or not finite.
    """

    name: ClassVar[str] = "l2"
    summary: ClassVar[str] = "the change's Euclidean length is at most eps (l2:0.5)"
    guarantee: ClassVar[str] = (
        "projection is the nearest point of ball and box, rounded inwards; sizes are exact in float64"
    )
    example: ClassVar[str] = "l2:0.5"
    specs: ClassVar[tuple[str, ...]] = ("l2:0.5",)
    allows: ClassVar[str] = "the Euclidean length of the change"

    def project(self, z: Tensor, x: Tensor, cache: ProjectionCache | None = None) -> Tensor:  # noqa: ARG002
        r"""Return the allowed point nearest to ``z`` in L2, which scaling and then clamping is not.

        .. math::
            \Pi(z) = clip(x + s (z - x)), \quad
            s = \max\{s \le 1 : \|clip(x + s (z - x)) - x\|_2 \le \varepsilon\}

        as the optimality conditions of ball and box give it. ``s`` solves a concave, piecewise linear
        equation in :math:`s^2`: Newton's method from the left never overshoots it and ends at the exact root.
        """
        outside = ~contains(self, z, x)
        if not outside.any():
            return z
        if outside.all():
            return self._project_outside(z, x)
        projected = z.clone()
        projected[outside] = self._project_outside(z[outside], x[outside])
        return projected

    def _project_outside(self, z: Tensor, x: Tensor) -> Tensor:
        origin = x if x.dtype == torch.float64 else x.float()
        change = z.to(origin.dtype) - origin
        cap = torch.where(change > 0, self.high - origin, origin - self.low)
        spacing = torch.finfo(x.dtype).eps * max(abs(self.low), abs(self.high), self.eps)
        box = representable_box(self.low, self.high, x.dtype)
        nearest, missing = x, None
        # Aim a few ulps inside eps; where rounding left the point outside, aim further inside. Last resort:
        # the clean point.
        for pull in (1, 4, 16, 256):
            radius = change.new_full((len(change), 1), max(0.0, self.eps - pull * spacing))
            scale = l2_scale(change.flatten(1), cap.flatten(1), radius)
            point = torch.addcmul(origin, expand_rows(scale, x), change).to(x.dtype).clamp_(*box)
            nearest = point if missing is None else torch.where(expand_rows(missing, x), point, nearest)
            missing = ~contains(self, nearest, x)
            if not missing.any():
                return nearest
        return torch.where(expand_rows(missing, x), x, nearest) if missing is not None else x

    def steepest_step(self, gradient: Tensor, size: float) -> Tensor:
        """Return the change of size ``size`` that raises a linear function most.

        It is ``size * gradient / |gradient|_2``, and 0 where the gradient is 0.
        """
        flat = gradient.flatten(1)
        # divide by the largest entry first: no overflow or underflow in the norm
        largest = flat.abs().amax(1, keepdim=True)
        unit = flat / torch.where(largest > 0, largest, 1)
        length = torch.linalg.vector_norm(unit, dim=1, keepdim=True).clamp(min=1)
        return (unit * (size / length)).view_as(gradient)

    def measure(self, z: Tensor, x: Tensor) -> Tensor:
        """Return the size of the change, per example (B,), in float64."""
        return torch.linalg.vector_norm((z.double() - x).flatten(1), dim=1)

    def sample(
        self,
        x: Tensor,
        rng: ExampleRNG,
        cache: ProjectionCache | None = None,  # noqa: ARG002
    ) -> Tensor:
        """Return a uniform point of the ball, one per example, clamped to the box."""
        direction = self.steepest_step(rng.normal(x).double(), 1.0)
        uniform = rng.fold_in("radius").uniform(x.new_empty((len(x), 1), dtype=torch.float64))
        # The root by exp and log: a tensor's pow rounds a number by where it stands in the batch (vector
        # lanes and rest differ).
        radius = (uniform.log() / max(1, x[:1].numel())).exp()
        change = self.eps * expand_rows(radius, x) * direction
        return self.project((x.double() + change).clamp(self.low, self.high).to(x.dtype), x)
