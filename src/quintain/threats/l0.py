"""The L0 ball: at most so many pixels change."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from quintain.core.errors import SettingError
from quintain.threats import spec_format
from quintain.threats.broadcast import channels_by_pixel, expand_pixels, expand_rows, top_k_mask
from quintain.threats.norm_ball import NormBall
from quintain.threats.rng import ExampleRNG
from quintain.threats.rounding import representable_box
from quintain.threats.threat import ProjectionCache, contains


@dataclass(frozen=True, slots=True)
class L0(NormBall):
    r"""At most ``eps`` pixels may change, each to anything inside the data box.

    .. math:: \{z : \#\{p : z_p \ne x_p\} \le \varepsilon,\; low \le z \le high\}

    A pixel of images (B, C, H, W) is one place with all its channels; of inputs of any other shape, each
    feature is one.

    Args:
        eps: How many pixels: a whole number.
        low, high: The data box.

    Raises:
        SettingError: If ``eps`` is negative or not whole.
    """

    name: ClassVar[str] = "l0"
    summary: ClassVar[str] = "at most so many pixels change, each to any color (l0:5)"
    guarantee: ClassVar[str] = "projection is the nearest allowed point; sizes are counts"
    example: ClassVar[str] = "l0:5"
    whole_sizes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        NormBall.__post_init__(self)
        if not self.eps.is_integer():
            raise SettingError(
                f"eps = {self.eps:g}; expected a whole number of pixels for L0, such as "
                f"{round(self.eps) or 1}"
            )

    @property
    def spec(self) -> str:
        """The exact text of this ball, such as ``l0:5``."""
        return spec_format.write_ball(self.name, int(self.eps), self.low, self.high)

    def project(self, z: Tensor, x: Tensor, cache: ProjectionCache | None = None) -> Tensor:  # noqa: ARG002
        """Return the allowed point nearest to ``z`` in L2.

        The pixels that gain most by it are clamped, the others are as in ``x``.

        .. math:: gain_p = |z_p - x_p|^2 - |z_p - clip(z_p)|^2

        Of equal gains the first pixels count. A coordinate that is not a number stays as in ``x``.
        """
        outside = ~contains(self, z, x)
        if not outside.any():
            return z
        z = torch.where(z.isnan(), x, z)
        near = z.clamp(*representable_box(self.low, self.high, z.dtype))
        exact, origin, unclipped = (
            part if part.dtype == torch.float64 else part.float() for part in (near, x, z)
        )
        # gain of keeping pixel p: |z_p - x_p|^2 - |z_p - clip z_p|^2, factored to avoid cancellation; keep
        # the eps largest
        gain = (exact - origin) * ((unclipped - origin) + (unclipped - exact))
        kept = top_k_mask(channels_by_pixel(torch.where(exact == origin, 0.0, gain)).sum(1), int(self.eps))
        projected = torch.where(expand_pixels(kept, x), near, x)
        return torch.where(expand_rows(outside, x), projected, z)

    def steepest_step(self, gradient: Tensor, size: float) -> Tensor:
        """Return a step of ``max(1, int(step))`` pixels, those of the largest summed ``|gradient|``.

        Each goes across the whole box along its sign.

        What bounds such a change is the box, not a norm: wherever the point is, the projection takes the
            pixels to the wall.
        """
        moved = top_k_mask(channels_by_pixel(gradient.abs()).sum(1), max(1, int(size)))
        return torch.where(expand_pixels(moved, gradient), (self.high - self.low) * gradient.sign(), 0.0)

    def measure(self, z: Tensor, x: Tensor) -> Tensor:
        """Return how many pixels changed, per example (B,), in float64."""
        return channels_by_pixel(z != x).any(1).sum(1).double()

    def describe_size(self, size: float) -> str:
        """Return the size of a change as a count."""
        return f"{size:.0f} pixels"

    def sample(self, x: Tensor, rng: ExampleRNG, cache: ProjectionCache | None = None) -> Tensor:  # noqa: ARG002
        """Return ``eps`` pixels drawn without replacement, each of a uniform color of the box.

        One point per example.
        """
        order = rng.fold_in("place").uniform(channels_by_pixel(x)[:, 0].double())
        color = self.low + (self.high - self.low) * rng.fold_in("colour").uniform(x)
        return torch.where(
            expand_pixels(top_k_mask(order, int(self.eps)), x),
            color.clamp_(*representable_box(self.low, self.high, x.dtype)),
            x,
        )
