"""Other light on the same scene: brightness, contrast and hue; and the negative."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from quintain.core.errors import DataError, SettingError
from quintain.threats import spec_format
from quintain.threats.parametric import ParametricBase
from quintain.threats.rounding import representable_box


@dataclass(frozen=True, slots=True)
class Color(ParametricBase):
    r"""The whole image gets another hue, then more or less contrast, then brighter or darker.

    .. math::
        x' = clip\big(m + (1 + c)(H_\theta x - m) + b\,(high - low)\big), \quad
        |b| \le brightness,\; |c| \le contrast,\; |\theta| \le 2 \pi\, hue

    with :math:`m` the middle of the box and :math:`H_\theta` the rotation of the colors about gray.

    Args:
        brightness: Most that every value may rise or fall, as a fraction of the box, at most 1.
        contrast: Most that distances from the middle of the box may grow or shrink, as a fraction, at most 1.
        hue: Most rotation to either side, as a fraction of the color circle, at most 0.5; for images of three
            channels.
        low, high: The data box.

    The parameters are fractions in [-1, 1] of what is allowed, in the order above; what is not allowed has
    none.

    Raises:
        SettingError: If an allowance is negative or too large, or all are 0.
    """

    name: ClassVar[str] = "color"
    summary: ClassVar[str] = "brightness, contrast and hue change (color:brightness=0.2,contrast=0.3,hue=0.1)"
    example: ClassVar[str] = "color:brightness=0.2,contrast=0.3"
    specs: ClassVar[tuple[str, ...]] = ("color:brightness=0.2,contrast=0.3", "color:hue=0.1")
    allows: ClassVar[str] = "the whole image's brightness, contrast, hue"
    param_min: ClassVar[float] = -1.0
    options: ClassVar[Mapping[str, str]] = {"brightness": "number", "contrast": "number", "hue": "number"}

    brightness: float = 0.0
    contrast: float = 0.0
    hue: float = 0.0
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        low, high = spec_format.check_box(self.low, self.high)
        for name, most, unit in (
            ("brightness", 1.0, "of the box"),
            ("contrast", 1.0, "of itself"),
            ("hue", 0.5, "of the circle"),
        ):
            object.__setattr__(
                self, name, spec_format.check_amount("color", name, getattr(self, name), most, unit)
            )
        if not (self.brightness or self.contrast or self.hue):
            raise SettingError(
                "color allows no change; expected brightness, contrast or hue above 0, such as "
                "color:brightness=0.2"
            )
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)

    @classmethod
    def from_spec(cls, text: str) -> Self:
        """Return the threat of a spec ``color:text``, such as ``brightness=0.2,contrast=0.3,hue=0.1``."""
        given, low, high = spec_format.read_options(cls.name, text, tuple(cls.options))
        return cls(
            **{key: spec_format.read_fraction(value) for key, value in given.items()}, low=low, high=high
        )

    @property
    def spec(self) -> str:
        """The exact text of this threat, such as ``color:brightness=0.2``."""
        amounts = {"brightness": self.brightness, "contrast": self.contrast, "hue": self.hue}
        given = {key: spec_format.format_number(amount) for key, amount in amounts.items() if amount}
        return spec_format.write_options(self.name, given, self.low, self.high)

    def num_params(self, x: Tensor) -> int:
        """Return one for each of brightness, contrast and hue that is allowed.

        Raises:
            DataError: If the inputs are no images, or hue is allowed and they have not three channels.
        """
        self.check_images(x)
        if self.hue and x.shape[1] != 3:
            raise DataError(
                f"images of {x.shape[1]} channels for {self.spec}; hue needs three: leave it out, or give "
                "RGB images"
            )
        return bool(self.brightness) + bool(self.contrast) + bool(self.hue)

    def render(self, x: Tensor, params: Tensor) -> Tensor:
        """Return the images with their brightness, contrast and hue changed."""
        self.check_params(params, x)
        amounts = iter(part[:, None, None, None] for part in params.unbind(1))
        bright = self.brightness * next(amounts) if self.brightness else None
        stretch = self.contrast * next(amounts) if self.contrast else None
        image = x
        if self.hue:
            image = _rotate_hue(image, 2 * math.pi * self.hue * next(amounts))
        if stretch is not None:
            image = image + stretch * (image - (self.low + self.high) / 2)
        if bright is not None:
            image = image + (self.high - self.low) * bright
        return image.clamp(*representable_box(self.low, self.high, x.dtype))


def _rotate_hue(image: Tensor, angle: Tensor) -> Tensor:
    """Return colors (B, 3, H, W) turned about the gray line by an angle (B, 1, 1, 1).

    A third of a circle turns red to green, green to blue and blue to red.
    """
    # Rodrigues' rotation about the gray axis k = (1, 1, 1) / sqrt 3: x + sin(a) k x v + (1 - cos a) (k (k .
    # v) - v)
    red, green, blue = image.unbind(1)
    sideways = torch.stack((blue - green, red - blue, green - red), 1) / math.sqrt(3)
    inwards = ((red + green + blue) / 3)[:, None] - image
    return image + angle.sin() * sideways + (1 - angle.cos()) * inwards
