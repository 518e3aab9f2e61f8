"""A finished sticker: what is stuck on, how it is cut, and how it is seen."""

import math
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from quintain.attacks.universal.printing import Printing
from quintain.attacks.universal.view import View
from quintain.core.errors import DataError, SettingError, UnknownNameError
from quintain.threats.rng import ExampleRNG, example_rng
from quintain.threats.warp import composite

CUT_SHAPES = ("disc", "square", "letter")


@dataclass(frozen=True, slots=True, eq=False)
class FittedPatch:
    r"""A pattern stuck onto images, one for all of them, each in a view of its own.

    .. math:: x' = photo\Big(x (1 - T\alpha) + T\big(\alpha \cdot light(print(s))\big)\Big)

    Without a printer it is pasted as it is. The edge is anti-aliased.

    Args:
        pattern: Colors :math:`s` (C, h, w) in [0, 1].
        alpha: How much each pixel covers (1, h, w): 1 inside, 0 outside.
        relative_height: Its height as a fraction of the image's, at magnification 1.
        view: How it is seen.
        printing: The printer and the camera; none if not given.
        fitted_on: What it was fitted on, so that it is scored on other images.

    Raises:
        DataError: If pattern and alpha do not fit, or leave [0, 1].
    """

    pattern: Tensor
    alpha: Tensor
    relative_height: float
    view: View
    printing: Printing | None = None
    fitted_on: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.pattern.dim() != 3 or self.alpha.shape != (1, *self.pattern.shape[1:]):
            raise DataError(
                f"a pattern {tuple(self.pattern.shape)} cut by {tuple(self.alpha.shape)}; expected (C, h, w) "
                "and (1, h, w)"
            )
        for name, values in (("pattern", self.pattern), ("alpha", self.alpha)):
            if not ((values >= 0) & (values <= 1)).all():
                raise DataError(f"the {name} has values outside [0, 1]; expected fractions of the data box")

    def apply(self, x: Tensor, ids: Tensor | None = None, *, seed: int = 0) -> Tensor:
        """Return images (B, C, H, W) with the sticker on, each in the view of its id and the seed.

        The sticker was fitted on none of these views.
        """
        return self.apply_pattern(self.pattern, x, example_rng(x, seed, ids).fold_in("decal", "held out"))

    def apply_pattern(self, pattern: Tensor, x: Tensor, rng: ExampleRNG) -> Tensor:
        """Return images with another pattern of the same cut; differentiable in it.

        Raises:
            DataError: If the images have other channels.
        """
        if x.dim() != 4 or x.shape[1] != pattern.shape[0]:
            raise DataError(
                f"images of shape {tuple(x.shape)} for a sticker {tuple(pattern.shape)}; expected (B, "
                f"{pattern.shape[0]}, H, W)"
            )
        stickers = pattern.to(x).expand(len(x), *pattern.shape)
        if self.printing is not None:
            stickers = self.printing.print_colors(stickers, rng)
        sides = (pattern.shape[1], pattern.shape[2])
        scale = self.relative_height * x.shape[2] / sides[0]
        matrices = self.view.matrices(x, sides, scale, rng)
        alpha = self.alpha.to(x).expand(len(x), *self.alpha.shape)
        # pixels of the image per pixel of the pattern: supersample by about the inverse
        supersample = max(
            1, round(1 / (scale * math.sqrt(self.view.magnification[0] * self.view.magnification[1])))
        )
        composed = composite(
            x, self.view.relight(stickers, rng), alpha, matrices, supersample=supersample
        ).clamp(0, 1)
        return composed if self.printing is None else self.printing.photograph(composed, rng)

    def with_pattern(self, pattern: Tensor) -> Self:
        """Return the same cut, place and views with another pattern (C, h, w)."""
        return replace(self, pattern=pattern)

    def random_control(self, seed: int = 0) -> Self:
        """Return the control of the same area: a uniformly random color at each pixel."""
        generator = torch.Generator().manual_seed(seed % 2**63)
        return self.with_pattern(torch.rand(self.pattern.shape, generator=generator).to(self.pattern))

    def gray_control(self) -> Self:
        """Return the control of the same area: one middling gray."""
        return self.with_pattern(torch.full_like(self.pattern, 0.5))

    def crop_control(self, image: Tensor) -> Self:
        """Return the control of the same area: the middle of a real image (C, H, W).

        An image of the target class is a good choice.
        """
        if image.dim() != 3 or image.shape[0] != self.pattern.shape[0]:
            raise DataError(
                f"an image of shape {tuple(image.shape)}; expected ({self.pattern.shape[0]}, H, W)"
            )
        (pattern_height, pattern_width), (height, width) = self.pattern.shape[1:], image.shape[1:]
        scale = min(height / pattern_height, width / pattern_width)
        rows, columns = (max(1, math.floor(side * scale)) for side in (pattern_height, pattern_width))
        top, left = (height - rows) // 2, (width - columns) // 2
        middle = image[None, :, top : top + rows, left : left + columns].to(self.pattern)
        resized = torch.nn.functional.interpolate(
            middle, (pattern_height, pattern_width), mode="bilinear", antialias=True, align_corners=False
        )
        return self.with_pattern(resized[0].clamp(0, 1))


def cut_alpha(shape: str, side: int) -> Tensor:
    """Return the alpha (1, side, side) of a cut, its edge smoothed over a pixel.

    Args:
        shape: ``disc``; ``square``; or ``letter``: an L in strokes of a third, as radiographers' side markers
            have it.
        side: Pixels.

    Raises:
        UnknownNameError: For another shape.
        SettingError: If the side is below 1.
    """
    if shape not in CUT_SHAPES:
        raise UnknownNameError("cut", shape, CUT_SHAPES)
    if side < 1:
        raise SettingError(f"side = {side} pixels; expected at least 1")
    at = torch.arange(side) + 0.5
    if shape == "disc":
        # anti-aliased disc: 1 inside, linear over one pixel at the edge
        return (side / 2 + 0.5 - torch.hypot(at[:, None] - side / 2, at - side / 2)).clamp(0, 1)[None]
    if shape == "square":
        return torch.ones(1, side, side)
    third = side / 3
    upright, foot = (third + 0.5 - at).clamp(0, 1), (at - (side - third) + 0.5).clamp(0, 1)
    return torch.maximum(upright.expand(side, side), foot[:, None].expand(side, side))[None]


def pad_to_center(alpha: Tensor, height: int, width: int) -> Tensor:
    """Return an alpha (1, h, w) in the middle of an empty one (1, height, width)."""
    down, right = height - alpha.shape[1], width - alpha.shape[2]
    return torch.nn.functional.pad(alpha, (right // 2, right - right // 2, down // 2, down - down // 2))


AREA_RATIO = {"disc": math.pi / 4, "square": 1.0, "letter": 5 / 9}
"""How much of its square a cut covers."""


def side_for_area(shape: str, area: float, height: int, width: int) -> float:
    """Return the side in pixels of a cut that covers a fraction of an image.

    Raises:
        UnknownNameError: For another shape.
        SettingError: If the area is not in (0, 1], or does not fit into the image.
    """
    if shape not in CUT_SHAPES:
        raise UnknownNameError("cut", shape, CUT_SHAPES)
    if not 0 < area <= 1:
        raise SettingError(
            f"area = {area}; expected a fraction of the image above 0, at most 1, such as 0.05"
        )
    side = math.sqrt(area * height * width / AREA_RATIO[shape])
    if side > min(height, width):
        most = AREA_RATIO[shape] * min(height, width) / max(height, width)
        raise SettingError(
            f"a {shape} of {area:.0%} of the area is larger than the image {height} x {width}; expected at "
            f"most {most:.0%}"
        )
    return side
