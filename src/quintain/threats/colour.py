"""Other light on the same scene: brightness, contrast and hue; and the negative."""

import math
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from quintain.core.errors import DataError, SettingError
from quintain.threats import options, settings
from quintain.threats.family import Change
from quintain.threats.rounding import box_inside


@dataclass(frozen=True, slots=True)
class Colour(Change):
    r"""The whole picture gets another hue, then more or less contrast, then brighter or darker.

    .. math:: x' = clip\big(m + (1 + c)(H_\theta x - m) + b\,(high - low)\big), \quad |b| \le brightness,\; |c| \le contrast,\;
        |\theta| \le 2 \pi\, hue

    with :math:`m` the middle of the box and :math:`H_\theta` the turn of the colours about grey.

    Args:
        brightness: Share of the box, at most 1.
        contrast: Share by which differences may grow or shrink, at most 1.
        hue: Share of the circle of colours to either side, at most 0.5; for pictures of three channels.
        low, high: The data box.

    The parameters are shares in [-1, 1] of what is allowed, in the order above; what is not allowed has none.

    Raises:
        SettingError: If an allowance is negative or too large, or all are 0.
    """

    least: ClassVar[float] = -1.0

    brightness: float = 0.0
    contrast: float = 0.0
    hue: float = 0.0
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        low, high = settings.check_box(self.low, self.high)
        for name, most, unit in (("brightness", 1.0, "of the box"), ("contrast", 1.0, "of itself"), ("hue", 0.5, "of the circle")):
            object.__setattr__(self, name, options.allowance("colour", name, getattr(self, name), most, unit))
        if not (self.brightness or self.contrast or self.hue):
            raise SettingError("colour allows no change; expected brightness, contrast or hue above 0, such as colour:brightness=0.2")
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)

    @classmethod
    def from_token(cls, size: str) -> Self:
        """The light that ``colour:`` and ``size`` stand for, such as ``brightness=0.2,contrast=0.3,hue=0.1``."""
        given, low, high = options.read("colour", size, ("brightness", "contrast", "hue"))
        return cls(**{key: options.share(value) for key, value in given.items()}, low=low, high=high)

    @property
    def token(self) -> str:
        """The exact text of this light, such as ``colour:brightness=0.2``."""
        amounts = {"brightness": self.brightness, "contrast": self.contrast, "hue": self.hue}
        given = {key: options.plain(amount) for key, amount in amounts.items() if amount}
        return options.write("colour", given, self.low, self.high)

    def count(self, x: Tensor) -> int:
        """One for each of brightness, contrast and hue that is allowed.

        Raises:
            DataError: If the inputs are no pictures, or hue is allowed and they have not three channels.
        """
        self.require_pictures(x)
        if self.hue and x.shape[1] != 3:
            raise DataError(f"pictures of {x.shape[1]} channels for {self.token}; hue needs three: leave it out, or give RGB pictures")
        return bool(self.brightness) + bool(self.contrast) + bool(self.hue)

    def render(self, x: Tensor, params: Tensor) -> Tensor:
        """The pictures in the other light."""
        self.require_params(params, x)
        shares = iter(part[:, None, None, None] for part in params.unbind(1))
        bright = self.brightness * next(shares) if self.brightness else None
        stretch = self.contrast * next(shares) if self.contrast else None
        image = x
        if self.hue:
            image = _turned(image, 2 * math.pi * self.hue * next(shares))
        if stretch is not None:
            image = image + stretch * (image - (self.low + self.high) / 2)
        if bright is not None:
            image = image + (self.high - self.low) * bright
        return image.clamp(*box_inside(self.low, self.high, x.dtype))


def _turned(image: Tensor, angle: Tensor) -> Tensor:
    """Colours (B, 3, H, W) turned about the grey line by an angle (B, 1, 1, 1): red, green, blue, red at thirds of a circle."""
    red, green, blue = image.unbind(1)
    sideways = torch.stack((blue - green, red - blue, green - red), 1) / math.sqrt(3)
    inwards = ((red + green + blue) / 3)[:, None] - image
    return image + angle.sin() * sideways + (1 - angle.cos()) * inwards
