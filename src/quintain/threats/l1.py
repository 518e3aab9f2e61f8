"""The L1 ball."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from quintain.threats.broadcast import expand_rows
from quintain.threats.norm_ball import NormBall
from quintain.threats.piecewise_linear import l1_threshold
from quintain.threats.rng import ExampleRNG
from quintain.threats.rounding import representable_box
from quintain.threats.threat import ProjectionCache, contains

MAX_ATTEMPTS = 8
"""Projections of a point that rounding leaves outside, each with a smaller radius, before the clean point is
taken.
"""


@dataclass(frozen=True, slots=True)
class L1(NormBall):
    r"""The changes of all coordinates may add up to at most ``eps``, inside the data box.

    .. math:: \{z : \|z - x\|_1 \le \varepsilon,\; low \le z \le high\}

    Args:
        eps: Radius, in the units of the data: the sum over all coordinates, channels included.
        low, high: The data box.

    Raises:
        SettingError: If ``eps`` is negative or not finite.
    """

    name: ClassVar[str] = "l1"
    summary: ClassVar[str] = "the changes of all pixels add up to at most eps (l1:12)"
    guarantee: ClassVar[str] = (
        "projection is the nearest point of ball and box, rounded inwards; sizes are exact in float64"
    )
    example: ClassVar[str] = "l1:12"
    specs: ClassVar[tuple[str, ...]] = ("l1:12",)
    allows: ClassVar[str] = "the sum of the changes"

    def project(self, z: Tensor, x: Tensor, cache: ProjectionCache | None = None) -> Tensor:  # noqa: ARG002
        r"""Return the allowed point nearest to ``z`` in L2, which shrinking and then clamping is not.

        .. math:: \Pi(z)_i = x_i + sign(c_i) \min(\max(|c_i| - l, 0), cap_i), \quad c = z - x

        with :math:`cap_i` the room to the wall and the least :math:`l \ge 0` for which the changes add up to
        at most eps.
        """
        rows = (~contains(self, z, x)).nonzero().squeeze(1)
        if not len(rows):
            return z
        projected = z.clone()
        # Rounding may leave the projected point outside. So aim below eps by the rounding error of a sum of d
        # changes; where that is not enough, lower the radius by 2, 4, 8, ... times the excess.
        largest = max(abs(self.low), abs(self.high))
        slack = torch.finfo(x.dtype).eps / 4 * (largest * x[0].numel() ** 0.5 + self.eps)
        radius = x.new_full((len(rows), 1), self.eps - slack, dtype=torch.float64)
        for attempt in range(MAX_ATTEMPTS):
            projected[rows] = point = self._project_outside(z[rows], x[rows], radius)
            excess = self.measure(point, x[rows]) - self.eps
            outside = ~(excess <= 0)  # so that NaN counts as outside
            if not outside.any():
                return projected
            rows = rows[outside]
            radius = radius[outside] - 2**attempt * (2 * excess[outside, None] + slack)
        projected[rows] = x[rows]
        return projected

    def _project_outside(self, z: Tensor, x: Tensor, radius: Tensor) -> Tensor:
        """Return the point nearest to ``z`` whose changes add up to ``radius`` (B, 1), up to rounding."""
        origin = x if x.dtype == torch.float64 else x.float()
        change = (z.to(origin.dtype) - origin).nan_to_num(0.0)
        cap = torch.where(change > 0, self.high - origin, origin - self.low)
        size = change.abs()
        # KKT: u_i = min(max(|c_i| - l, 0), cap_i) with the least l for which sum_i u_i <= radius
        level = l1_threshold(size.flatten(1), cap.flatten(1), radius.clamp(min=0).to(origin.dtype))
        moved = torch.minimum((size - expand_rows(level, x)).clamp_(min=0), cap)
        return (
            torch.addcmul(origin, change.sign(), moved)
            .to(x.dtype)
            .clamp_(*representable_box(self.low, self.high, x.dtype))
        )

    def steepest_step(self, gradient: Tensor, size: float) -> Tensor:
        """Return the change of size ``size`` that raises a linear function most.

        It changes the coordinate with the largest gradient alone, the first one where several are equal.
        """
        flat = gradient.flatten(1)
        if not flat.numel():
            return torch.zeros_like(gradient)
        steepest = flat.abs().argmax(1, keepdim=True)
        return (
            torch.zeros_like(flat)
            .scatter_(1, steepest, size * flat.gather(1, steepest).sign())
            .view_as(gradient)
        )

    def measure(self, z: Tensor, x: Tensor) -> Tensor:
        """Return the size of the change, per example (B,), in float64."""
        return torch.linalg.vector_norm((z.double() - x).flatten(1), ord=1, dim=1)

    def sample(
        self,
        x: Tensor,
        rng: ExampleRNG,
        cache: ProjectionCache | None = None,  # noqa: ARG002
    ) -> Tensor:
        r"""Return a uniform point of the ball, one per example, clamped to the box.

        .. math::
            z_i = x_i + \varepsilon s_i E_i / (E_0 + E_1 + \dots + E_d), \quad E \sim Exp(1),\; s_i = \pm 1
        """
        # one uniform number in [-1, 1) gives both: its sign is s_i, and -log of its size is E_i
        signed = 2 * rng.uniform(x.double()) - 1
        exponentials = -signed.abs().clamp(min=2.0**-60).log()
        exponential_0 = -rng.fold_in("rest").uniform(signed.new_empty(len(x), 1)).clamp(min=2.0**-60).log()
        total = exponentials.flatten(1).sum(1, keepdim=True) + exponential_0
        change = self.eps * signed.sign() * exponentials / expand_rows(total, x)
        return self.project((x.double() + change).clamp(self.low, self.high).to(x.dtype), x)
