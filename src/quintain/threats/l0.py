"""The L0 ball: at most ``eps`` pixels change."""

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

    In images (B, C, H, W) a pixel is one position with all its channels; in inputs of any other shape each
    feature counts as a pixel.

    Args:
        eps: Number of pixels, a whole number.
        low, high: Least and greatest value of the data.

    Raises:
        SettingError: If ``eps`` is negative or not whole, or ``low`` is not below ``high``.
    """

    name: ClassVar[str] = "l0"
    summary: ClassVar[str] = "at most so many pixels change, each to any color (l0:5)"
    guarantee: ClassVar[str] = "projection is the nearest allowed point; sizes are counts"
    example: ClassVar[str] = "l0:5"
    specs: ClassVar[tuple[str, ...]] = ("l0:5",)
    allows: ClassVar[str] = "so many pixels, all channels of each, to any color"
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
        r"""Return the allowed point nearest to ``z`` in L2.

        The ``eps`` pixels that gain most are clamped to the box, and the others are reset to ``x``:

        .. math:: gain_p = |z_p - x_p|^2 - |z_p - clip(z_p)|^2

        Of equal gains the first pixels are kept. A coordinate that is NaN stays as in ``x``.
        """
        outside = ~contains(self, z, x)
        if not outside.any():
            return z
        z = torch.where(z.isnan(), x, z)
        clipped = z.clamp(*representable_box(self.low, self.high, z.dtype))
        precise_clipped, precise_x, precise_z = (
            tensor if tensor.dtype == torch.float64 else tensor.float() for tensor in (clipped, x, z)
        )
        # the gain of each coordinate, with the difference of squares factored to avoid cancellation
        gain = (precise_clipped - precise_x) * ((precise_z - precise_x) + (precise_z - precise_clipped))
        # clip(z) = x gains nothing, also where z is infinite and the product is NaN
        gain = torch.where(precise_clipped == precise_x, 0.0, gain)
        kept = top_k_mask(channels_by_pixel(gain).sum(1), int(self.eps))
        projected = torch.where(expand_pixels(kept, x), clipped, x)
        return torch.where(expand_rows(outside, x), projected, z)

    def steepest_step(self, gradient: Tensor, size: float) -> Tensor:
        """Return a change of the ``max(1, int(size))`` pixels with the largest sum of ``|gradient|``.

        Each of their values moves by the width of the box along the sign of its gradient. The change is
        bounded by the box rather than by a norm: from any point, the projection clamps the pixels to the box.
        """
        moved = top_k_mask(channels_by_pixel(gradient.abs()).sum(1), max(1, int(size)))
        return torch.where(expand_pixels(moved, gradient), (self.high - self.low) * gradient.sign(), 0.0)

    def measure(self, z: Tensor, x: Tensor) -> Tensor:
        """Return how many pixels changed, per example (B,), in float64."""
        return channels_by_pixel(z != x).any(1).sum(1).double()

    def describe_size(self, size: float) -> str:
        """Return the size of a change as a count."""
        return f"{size:.0f} pixels"

    def sample(
        self,
        x: Tensor,
        rng: ExampleRNG,
        cache: ProjectionCache | None = None,  # noqa: ARG002
    ) -> Tensor:
        """Return one random allowed point per example.

        ``eps`` pixels, drawn without replacement, get a uniform color of the box.
        """
        order = rng.fold_in("place").uniform(channels_by_pixel(x)[:, 0].double())
        color = self.low + (self.high - self.low) * rng.fold_in("colour").uniform(x)
        return torch.where(
            expand_pixels(top_k_mask(order, int(self.eps)), x),
            color.clamp_(*representable_box(self.low, self.high, x.dtype)),
            x,
        )
