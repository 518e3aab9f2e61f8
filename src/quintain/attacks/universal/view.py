"""How a sticker may be seen: where it is, how it is turned, tilted and lit.

Each view belongs to its example.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from quintain.core.errors import SettingError
from quintain.threats.rng import ExampleRNG
from quintain.threats.warp import homography, similarity


@dataclass(frozen=True, slots=True)
class View:
    r"""Views drawn uniformly, one for each example: expectation over transformation takes its mean over them.

    .. math:: T = \text{move} \cdot \text{turn} \cdot \text{size} \cdot \text{perspective}, \qquad
        s' = clamp\big(\tfrac12 + (1 + c)(s - \tfrac12) + b,\, 0,\, 1\big)

    Args:
        position: ``(down, right)`` of the sticker's middle, 0 where an upright one touches the top or left
            edge, 1 the bottom or right one; anywhere if not given.
        shift: How far it may be from there, as a share of the image's sides.
        rotation: Degrees to either side.
        magnification: The largest and smallest magnification, such as (0.9, 1.0).
        perspective: Share of the way to its middle that each corner may be drawn in, on each axis: a view in
            perspective, never a larger one.
        brightness: :math:`b`: light added or taken, at most.
        contrast: :math:`c`: stronger or weaker contrast, at most.

    Raises:
        SettingError: If a number is negative or not finite, a place is outside the image, or the sizes are
            not in order.

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
                f"perspective = {self.perspective:g}; expected less than 1: else nothing is left to be seen"
            )
        if not 0 < self.magnification[0] <= self.magnification[1] < math.inf:
            raise SettingError(
                f"magnification = {self.magnification}; expected the least and the greatest, such as (0.9, "
                "1.0)"
            )
        if self.position is not None and not all(0 <= share <= 1 for share in self.position):
            raise SettingError(
                f"position = {self.position}; expected two shares (down, right) from 0 to 1, such as (0.5, "
                "0.5)"
            )

    def matrices(self, scene: Tensor, sides: tuple[int, int], scale: float, rng: ExampleRNG) -> Tensor:
        """Return the matrices (B, 3, 3) from the sticker's pixels to the scene's.

        Both are counted from their middle.

        Args:
            scene: Images (B, C, H, W).
            sides: The sticker's height and width in its own pixels.
            scale: Pixels of the scene for one of the sticker at magnification 1.
            rng: One stream an example.
        """
        # 12 uniforms: rotation, magnification, position (2), pulls of the corners (8)
        uniforms = rng.fold_in("where").uniform(scene.new_empty(len(scene), 12, dtype=torch.float64))
        rotation = (2 * uniforms[:, 0] - 1) * math.radians(self.rotation)
        magnification = scale * (
            self.magnification[0] + (self.magnification[1] - self.magnification[0]) * uniforms[:, 1]
        )
        middle = []
        for axis, side, own in zip((0, 1), scene.shape[2:], sides, strict=True):
            # position in the free space, so that the patch stays inside
            free = side - magnification * own
            at = uniforms[:, 2 + axis] if self.position is None else self.position[axis]
            moved = 0.0 if self.position is None else (2 * uniforms[:, 2 + axis] - 1) * self.shift * side
            middle.append((at - 0.5) * free + moved)
        half = uniforms.new_tensor([sides[0] / 2, sides[1] / 2])
        # perspective: each corner pulled towards the middle by up to its fraction of the way
        corners = (
            uniforms.new_tensor([[-1, -1], [-1, 1], [1, 1], [1, -1]])
            * half
            * (1 - self.perspective * uniforms[:, 4:].view(-1, 4, 2))
        )
        return (similarity(rotation, magnification, *middle) @ homography(corners, *sides)).to(scene.dtype)

    def relight(self, stickers: Tensor, rng: ExampleRNG) -> Tensor:
        """Return stickers (B, C, h, w) in [0, 1] under each example's light."""
        uniforms = 2 * rng.fold_in("light").uniform(stickers.new_empty(len(stickers), 2)) - 1
        contrast, brightness = (1 + self.contrast * uniforms[:, 0]), self.brightness * uniforms[:, 1]
        return (0.5 + contrast.view(-1, 1, 1, 1) * (stickers - 0.5) + brightness.view(-1, 1, 1, 1)).clamp(
            0, 1
        )


FIXED_VIEW = View(
    position=(0.5, 0.5),
    shift=0.0,
    rotation=0.0,
    magnification=(1.0, 1.0),
    perspective=0.0,
    brightness=0.0,
    contrast=0.0,
)
"""The one view of a sticker that is as large as the image and lies on it."""
