"""The random views of a sticker in a scene: its position, rotation, perspective and light."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from quintain.core.errors import SettingError
from quintain.threats.rng import ExampleRNG
from quintain.threats.warp import homography, similarity


@dataclass(frozen=True, slots=True)
class View:
    r"""The range of the random views over which expectation over transformation averages.

    .. math:: T = \text{translation} \cdot \text{rotation} \cdot \text{scale} \cdot \text{perspective}, \qquad
        s' = clamp\big(\tfrac12 + (1 + c)(s - \tfrac12) + b,\, 0,\, 1\big)

    Each example has a view of its own; all amounts are drawn uniformly.

    Args:
        position: ``(down, right)`` of the sticker's middle: at 0 the upright sticker touches the top or left
            edge of the image, at 1 the bottom or right one; anywhere inside if not given.
        shift: Largest distance from ``position``, as a fraction of the image's sides.
        rotation: Largest angle in degrees, to either side.
        magnification: The smallest and the largest magnification, such as (0.9, 1.0).
        perspective: How far each corner may move towards the sticker's middle on each axis, as a fraction of
            the way: the sticker looks tilted, and never larger.
        brightness: Largest brightness that is added or subtracted, for the :math:`b` of the formula.
        contrast: Largest relative change of contrast, for the :math:`c` of the formula.

    Raises:
        SettingError: If a number is negative or not finite, the position is outside the image, or the
            smallest magnification exceeds the largest.

    Source: Athalye et al., 2018, arXiv:1707.07397; Brown et al., 2017, arXiv:1712.09665.
    """

    position: tuple[float, float] | None = None
    shift: float = 0.0
    rotation: float = 20.0
    magnification: tuple[float, float] = (0.9, 1.0)
    perspective: float = 0.1
    brightness: float = 0.1
    contrast: float = 0.1

    def __post_init__(self) -> None:
        amounts = {
            name: getattr(self, name)
            for name in ("shift", "rotation", "perspective", "brightness", "contrast")
        }
        for name, amount in amounts.items():
            if not (math.isfinite(amount) and amount >= 0):
                raise SettingError(f"{name} = {amount}; expected a finite number of at least 0")
        if self.perspective >= 1:
            raise SettingError(
                f"perspective = {self.perspective:g}; expected less than 1, where the sticker would vanish"
            )
        if not 0 < self.magnification[0] <= self.magnification[1] < math.inf:
            raise SettingError(
                f"magnification = {self.magnification}; expected the smallest and the largest, such as (0.9, "
                "1.0)"
            )
        if self.position is not None and not all(0 <= fraction <= 1 for fraction in self.position):
            raise SettingError(
                f"position = {self.position}; expected two fractions (down, right) from 0 to 1, such as "
                "(0.5, 0.5)"
            )

    def matrices(self, scene: Tensor, sides: tuple[int, int], scale: float, rng: ExampleRNG) -> Tensor:
        """Return the matrices (B, 3, 3) that map the sticker's pixels to the scene's.

        Both are (row, column, 1), counted from the middle of the sticker and of the scene.

        Args:
            scene: Images (B, C, H, W).
            sides: The sticker's height and width in its own pixels.
            scale: Pixels of the scene for each pixel of the sticker at magnification 1.
            rng: One stream for each example.
        """
        # 12 uniforms: rotation, magnification, position (2), how far the four corners move in (8)
        uniforms = rng.fold_in("where").uniform(scene.new_empty(len(scene), 12, dtype=torch.float64))
        rotation = (2 * uniforms[:, 0] - 1) * math.radians(self.rotation)
        magnification = scale * (
            self.magnification[0] + (self.magnification[1] - self.magnification[0]) * uniforms[:, 1]
        )
        middle = []
        for axis, scene_side, side in zip((0, 1), scene.shape[2:], sides, strict=True):
            # a position in the space that the sticker leaves free, so that an upright one stays inside
            free = scene_side - magnification * side
            uniform = uniforms[:, 2 + axis]
            position = uniform if self.position is None else self.position[axis]
            shift = 0.0 if self.position is None else (2 * uniform - 1) * self.shift * scene_side
            middle.append((position - 0.5) * free + shift)
        half_sides = uniforms.new_tensor([sides[0] / 2, sides[1] / 2])
        # perspective: each corner moves towards the middle by up to ``perspective`` of the way
        corners = (
            uniforms.new_tensor([[-1, -1], [-1, 1], [1, 1], [1, -1]])
            * half_sides
            * (1 - self.perspective * uniforms[:, 4:].view(-1, 4, 2))
        )
        return (similarity(rotation, magnification, *middle) @ homography(corners, *sides)).to(scene.dtype)

    def relight(self, stickers: Tensor, rng: ExampleRNG) -> Tensor:
        """Return stickers (B, C, h, w) in [0, 1] with each example's random contrast and brightness."""
        uniforms = 2 * rng.fold_in("light").uniform(stickers.new_empty(len(stickers), 2)) - 1
        contrast, brightness = (1 + self.contrast * uniforms[:, 0]), self.brightness * uniforms[:, 1]
        return (0.5 + contrast.view(-1, 1, 1, 1) * (stickers - 0.5) + brightness.view(-1, 1, 1, 1)).clamp(
            0, 1
        )
