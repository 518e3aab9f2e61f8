"""Threats of a moved camera: the image is rotated, shifted, scaled, and its pixels are displaced a little."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, Self

import torch
from torch import Tensor

from quintain.core.errors import SettingError
from quintain.threats import spec_format
from quintain.threats.parametric import ParametricBase
from quintain.threats.rounding import representable_box
from quintain.threats.warp import centered_grid, resample, rotation_terms

Fill = Literal["black", "border"]


class Motion(NamedTuple):
    """The parameters of motions, unpacked: each a fraction in [-1, 1] of what is allowed.

    Args:
        rotate: Rotation, counterclockwise (B,).
        down, right: Shift (B,).
        scale: Change of size (B,).
        flow: Displacement of each pixel, down and right (B, 2, H, W); none if the threat has no flow.
    """

    rotate: Tensor
    down: Tensor
    right: Tensor
    scale: Tensor
    flow: Tensor | None


@dataclass(frozen=True, slots=True)
class Spatial(ParametricBase):
    r"""The image is rotated, scaled about its middle and shifted, and each pixel may be displaced a little.

    .. math::
        x'(u) = x\big(s^{-1} R_{-\varphi} (u - t) + v(u)\big), \quad
        |\varphi| \le rotate,\; |t_i| \le shift,\; |s - 1| \le scale,\; |v_i(u)| \le flow

    with :math:`\varphi` the angle, t the shift, s the scale and v the flow of a pixel u, bilinear
    interpolation, and ``fill`` around the image.

    Args:
        rotate: Degrees to either side, at most 180; positive parameters rotate counterclockwise.
        shift: Pixels to any side.
        scale: Fraction by which the image may grow or shrink, below 1.
        flow: Pixels by which each pixel may be displaced, down and right; each image has its own flow.
        fill: What is around the image: ``black`` (``low``), or its ``border`` continued.
        low, high: The data box.

    The parameters are fractions in [-1, 1] of what is allowed: rotation, shift down and right, scale, then
    the flow's rows and columns; what is not allowed has no parameter. The image is differentiable in all of
    them except where a pixel is taken from a whole position: bilinear interpolation has kinks there.

    Raises:
        SettingError: If an allowance is negative or too large, or all are 0.

    Source: Engstrom et al., 2019, arXiv:1712.02779; the flow, Xiao et al., 2018, arXiv:1801.02612.
    """

    name: ClassVar[str] = "spatial"
    summary: ClassVar[str] = (
        "the image is rotated, shifted, scaled or distorted (spatial:rotate=15,shift=3, spatial:flow=1.5)"
    )
    example: ClassVar[str] = "spatial:rotate=15,shift=1"
    specs: ClassVar[tuple[str, ...]] = ("spatial:rotate=15,shift=3", "spatial:scale=0.1", "spatial:flow=1.5")
    allows: ClassVar[str] = (
        "degrees, pixels, fraction of the size, and pixels by which each pixel may be displaced"
    )
    param_min: ClassVar[float] = -1.0
    options: ClassVar[Mapping[str, str]] = {
        "rotate": "number",
        "shift": "number",
        "scale": "number",
        "flow": "number",
        "fill": "black|border",
    }

    rotate: float = 0.0
    shift: float = 0.0
    scale: float = 0.0
    flow: float = 0.0
    fill: Fill = "black"
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        low, high = spec_format.check_box(self.low, self.high)
        if self.fill not in ("black", "border"):
            raise SettingError(f"spatial: fill = {self.fill!r}; expected black or border")
        limits = (
            ("rotate", 180.0, "degrees"),
            ("shift", 1e6, "pixels"),
            ("scale", 0.99, "of its size"),
            ("flow", 1e6, "pixels"),
        )
        for name, most, unit in limits:
            object.__setattr__(
                self, name, spec_format.check_amount("spatial", name, getattr(self, name), most, unit)
            )
        if not (self.rotate or self.shift or self.scale or self.flow):
            raise SettingError(
                "spatial allows no change; expected rotate, shift, scale or flow above 0, such as "
                "spatial:rotate=15,shift=3"
            )
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)

    @classmethod
    def from_spec(cls, text: str) -> Self:
        """Return the threat of a spec ``spatial:text``, such as ``rotate=15,shift=3``."""
        given, low, high = spec_format.read_options(cls.name, text, tuple(cls.options))
        fill = given.pop("fill", "black")
        return cls(
            **{key: spec_format.read_fraction(value) for key, value in given.items()},
            fill=fill,  # type: ignore[arg-type]
            low=low,
            high=high,
        )

    @property
    def spec(self) -> str:
        """The exact text of this threat, such as ``spatial:rotate=15,shift=3``."""
        amounts = {"rotate": self.rotate, "shift": self.shift, "scale": self.scale, "flow": self.flow}
        given = {key: spec_format.format_number(amount) for key, amount in amounts.items() if amount}
        fill = {} if self.fill == "black" else {"fill": self.fill}
        return spec_format.write_options(self.name, {**given, **fill}, self.low, self.high)

    def num_params(self, x: Tensor) -> int:
        """Return the number of parameters of what is allowed.

        Rotation and scale have one each, the shift two, the flow 2 H W.
        """
        self.check_images(x)
        return (
            bool(self.rotate)
            + 2 * bool(self.shift)
            + bool(self.scale)
            + 2 * bool(self.flow) * x.shape[2] * x.shape[3]
        )

    def unpack(self, params: Tensor, x: Tensor) -> Motion:
        """Return the motions that parameters (B, P) stand for; 0 for what is not allowed."""
        self.check_params(params, x)
        zero = params.new_zeros(len(x))
        # the parameters before the flow's, in the order of ``pack``
        scalars = params.unbind(1)[: bool(self.rotate) + 2 * bool(self.shift) + bool(self.scale)]
        remaining = iter(scalars)
        rotate = next(remaining) if self.rotate else zero
        down, right = (next(remaining), next(remaining)) if self.shift else (zero, zero)
        scale = next(remaining) if self.scale else zero
        flow = params[:, len(scalars) :].reshape(len(x), 2, *x.shape[2:]) if self.flow else None
        return Motion(rotate, down, right, scale, flow)

    def pack(self, motion: Motion) -> Tensor:
        """Return the parameters (B, P) of motions; what is not allowed is left out."""
        allowed = (self.rotate, self.shift, self.shift, self.scale)
        parts = [part[:, None] for part, amount in zip(motion[:4], allowed, strict=True) if amount]
        return torch.cat(parts if motion.flow is None else [*parts, motion.flow.flatten(1)], 1)

    def render(self, x: Tensor, params: Tensor) -> Tensor:
        """Return the moved images."""
        dtype = torch.promote_types(x.dtype, torch.float32)
        motion = self.unpack(params.to(dtype), x)
        height, width = x.shape[2:]
        # source = R^-1 (u - t) / s + flow, written as u + correction: without motion the correction is
        # exactly 0, so that the image is unchanged bit for bit
        terms = rotation_terms(math.radians(self.rotate) * motion.rotate, 1 + self.scale * motion.scale)
        own_axis, other_axis = (term[:, None, None] for term in terms)
        down, right = (self.shift * part[:, None, None] for part in (motion.down, motion.right))
        row, column = centered_grid(height, width, params.to(dtype))
        rows = (row + (height - 1) / 2) - down + (own_axis * (row - down) + other_axis * (column - right))
        columns = (
            (column + (width - 1) / 2) - right + (own_axis * (column - right) - other_axis * (row - down))
        )
        if motion.flow is not None:
            rows, columns = rows + self.flow * motion.flow[:, 0], columns + self.flow * motion.flow[:, 1]
        moved = resample(x, rows, columns, self.low if self.fill == "black" else None)
        return moved.clamp(*representable_box(self.low, self.high, x.dtype))
