"""Adversarial patches: a part of the image is replaced."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self

import torch
from torch import Tensor

from quintain.core.errors import SettingError
from quintain.threats import shapes, spec_format
from quintain.threats.parametric import ParametricBase
from quintain.threats.rng import ExampleRNG
from quintain.threats.rounding import representable_box
from quintain.threats.threat import ProjectionCache


class PatchParams(NamedTuple):
    """The parameters of patches, unpacked.

    Args:
        pixels: Their colors (B, C, h, w), as fractions of the box: 0 is ``low``, 1 is ``high``.
        position: Where they are (B, 2): 0 is the top or left edge, 1 the bottom or right one.
        present: 1 where there is a sticker, 0 where there is none (B, 1).
    """

    pixels: Tensor
    position: Tensor
    present: Tensor


@dataclass(frozen=True, slots=True)
class Patch(ParametricBase):
    r"""A sticker with any colors in the data box: a square of ``area``, or a ``shape`` of its own.

    It lies at a given position or anywhere.

    .. math::
        x'_{ij} = s_{i - top,\, j - left} \text{ under the sticker}, \quad x'_{ij} = x_{ij} \text{ elsewhere}

    Args:
        area: Fraction of the image, 0 to 1; the side is :math:`\lfloor\sqrt{area \cdot H W}\rfloor`, at most
            the shorter side of the image, and at least 1 pixel.
        position: ``(down, right)``, 0 to 1, from the top left to the bottom right; anywhere if not given: a
            sample draws it from the example's own stream, and a search may move it.
        shape: Instead of an area, what is stuck on, drawn as large as the image: ``eyeglasses``,
            ``border``, ``disc``, or a path to a ``.png`` or ``.npy`` mask of the images' size.
        low, high: The data box.

    The parameters are the pixels, the place and whether there is a sticker; the change is differentiable in
    the pixels.

    Raises:
        SettingError: If the area is 0 or above 1, the place is outside the image, or not exactly one of
            area and shape is given.
        UnknownNameError: For a name that no shape has.

    Source: Brown et al., 2017, arXiv:1712.09665.
    """

    name: ClassVar[str] = "patch"
    summary: ClassVar[str] = (
        "a sticker of any colors on a fraction of the image (patch:area=5%, patch:area=5%,position=0.5x0.5)"
    )
    example: ClassVar[str] = "patch:area=20%,position=0.5x0.5"
    specs: ClassVar[tuple[str, ...]] = (
        "patch:area=5%",
        "patch:area=5%,position=0.5x0.5",
        "patch:shape=eyeglasses",
    )
    allows: ClassVar[str] = "a sticker of any colors, anywhere or at a place (down x right)"

    options: ClassVar[Mapping[str, str]] = {
        "area": "bare-number",
        "position": "number-x-number",
        "shape": "border|disc|eyeglasses|FILE",
    }

    area: float = 0.0
    position: tuple[float, float] | None = None
    shape: str = ""
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        low, high = spec_format.check_box(self.low, self.high)
        area = spec_format.check_amount(
            "patch", "area", self.area, 1.0, "of the image, such as 0.05 or, in a spec, 5%"
        )
        if bool(area) == bool(self.shape):
            got = f"area = {area:g} and shape = {self.shape!r}"
            raise SettingError(
                f"patch: {got}; expected one of the two: an area above 0 such as 0.05 (in a spec, 5%), or a "
                "shape"
            )
        if self.shape:
            self._check_shape()
        if self.position is not None:
            if len(self.position) != 2:
                raise SettingError(
                    f"patch: position = {self.position!r}; expected two fractions (down, right), such as "
                    "(0.5, 0.5)"
                )
            position = tuple(
                spec_format.check_amount("patch", "position", fraction, 1.0, "(down, right), such as 0.5x0.5")
                for fraction in self.position
            )
            object.__setattr__(self, "position", position)
        for name, value in (("area", area), ("low", low), ("high", high)):
            object.__setattr__(self, name, value)

    def _check_shape(self) -> None:
        shapes.check_shape(self.shape)
        if self.position is not None:
            raise SettingError(
                f"patch: position = {self.position} for the shape {self.shape!r}; a shape covers the whole "
                "image: leave it out"
            )
        if set(",[]+") & set(self.shape):
            raise SettingError(
                f"patch: the path {self.shape!r} has one of , [ ] +, which a token cannot hold; rename the "
                "file"
            )

    @classmethod
    def from_spec(cls, text: str) -> Self:
        """Return the patch of a spec ``patch:text``, such as ``area=5%,position=0.5x0.5``.

        Another such text is ``shape=eyeglasses``.
        """
        given, low, high = spec_format.read_options(cls.name, text, tuple(cls.options), bare="area")
        area = spec_format.read_fraction(given.get("area", "0"))
        if "position" not in given:
            return cls(area, None, given.get("shape", ""), low, high)
        down, cross, right = given["position"].partition("x")
        if not cross:
            raise SettingError(
                f"patch: position = {given['position']!r}; expected down x right, such as position=0.5x0.5 "
                "for the middle"
            )
        return cls(
            area,
            (spec_format.read_fraction(down), spec_format.read_fraction(right)),
            given.get("shape", ""),
            low,
            high,
        )

    @property
    def spec(self) -> str:
        """The exact text of these stickers, such as ``patch:area=5%,position=0.5x0.5``."""
        what = {"shape": self.shape} if self.shape else {"area": spec_format.format_percent(self.area)}
        position = (
            {}
            if self.position is None
            else {"position": "x".join(map(spec_format.format_number, self.position))}
        )
        return spec_format.write_options(self.name, {**what, **position}, self.low, self.high)

    def patch_size(self, x: Tensor) -> tuple[int, int]:
        """Return the sticker's height and width in pixels, on images (B, C, H, W)."""
        self.check_images(x)
        height, width = x.shape[2:]
        if self.shape:
            return height, width
        side = max(1, min(height, width, math.floor(math.sqrt(self.area * height * width) + 1e-9)))
        return side, side

    def num_params(self, x: Tensor) -> int:
        """Return the sticker's values, two for its place, one for whether it is there."""
        return int(x.shape[1]) * math.prod(self.patch_size(x)) + 3

    def unpack(self, params: Tensor, x: Tensor) -> PatchParams:
        """Return the parameters (B, P), apart."""
        self.check_params(params, x)
        return PatchParams(
            params[:, :-3].reshape(len(x), x.shape[1], *self.patch_size(x)), params[:, -3:-1], params[:, -1:]
        )

    def pack(self, params: PatchParams) -> Tensor:
        """Return the parameters (B, P) of a sticker."""
        return torch.cat((params.pixels.flatten(1), params.position, params.present), 1)

    def top_left(self, position: Tensor, x: Tensor) -> Tensor:
        """Return the top left pixel (B, 2) of stickers at a place (B, 2)."""
        free = self._free_pixels(x)
        # position in [0, 1] -> one of free + 1 equally likely pixels
        return (position.double().nan_to_num() * (free + 1)).long().clamp(min=0).minimum(free)

    def position_of(self, top_left: Tensor, x: Tensor) -> Tensor:
        """Return the place (B, 2) of stickers whose top left pixel is ``top_left`` (B, 2)."""
        # the middle of that pixel's interval
        return ((top_left + 0.5) / (self._free_pixels(x) + 1)).to(x.dtype)

    def _free_pixels(self, x: Tensor) -> Tensor:
        return torch.tensor(x.shape[2:], device=x.device) - torch.tensor(self.patch_size(x), device=x.device)

    def identity(self, x: Tensor) -> Tensor:
        """Return the parameters of no patch."""
        return self._canonical(x.new_zeros(len(x), self.num_params(x)))

    def project(self, z: Tensor, x: Tensor, cache: ProjectionCache | None = None) -> Tensor:  # noqa: ARG002
        """Return the nearest allowed parameters: colors and place in their box, a sticker or none."""
        return self._canonical(z.clamp(0, 1))

    def _canonical(self, params: Tensor) -> Tensor:
        fixed = (0.0, 0.0) if self.shape else self.position
        position = params[:, -3:-1] if fixed is None else params.new_tensor(fixed).expand(len(params), 2)
        present = params[:, -1:]
        return torch.cat(
            (
                params[:, :-3],
                position,
                torch.where(present.isnan(), present, (present > 0.5).to(present.dtype)),
            ),
            1,
        )

    def measure(self, z: Tensor, x: Tensor) -> Tensor:  # noqa: ARG002
        """Return 1 where there is a sticker, else 0 (B,), in float64."""
        return z[:, -1].double()

    def sample(
        self,
        x: Tensor,
        rng: ExampleRNG,
        cache: ProjectionCache | None = None,  # noqa: ARG002
    ) -> Tensor:
        """Return a sticker of uniform colors, at a uniform place."""
        params = rng.uniform(x.new_empty(len(x), self.num_params(x)))
        params[:, -1] = 1
        return self._canonical(params)

    def render(self, x: Tensor, params: Tensor) -> Tensor:
        """Return the images with their stickers on."""
        pixels, position, present = self.unpack(params, x)
        colors = (self.low + (self.high - self.low) * pixels).clamp(
            *representable_box(self.low, self.high, x.dtype)
        )
        height, width = self.patch_size(x)
        top_left = self.top_left(position.detach(), x)
        # index_put with broadcast indices: (example, channel, row, column) of the patch
        row = (top_left[:, :1] + torch.arange(height, device=x.device))[:, None, :, None]
        column = (top_left[:, 1:] + torch.arange(width, device=x.device))[:, None, None, :]
        example = torch.arange(len(x), device=x.device)[:, None, None, None]
        channel = torch.arange(x.shape[1], device=x.device)[None, :, None, None]
        under = (example, channel, row, column)
        stuck = present[..., None, None] > 0.5
        if self.shape:
            stuck = stuck & shapes.shape_mask_like(self.shape, x)
        return x.index_put(under, torch.where(stuck, colors, x[under]))
