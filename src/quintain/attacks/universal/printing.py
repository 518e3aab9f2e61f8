"""What a printer and then a camera make of an image; and how far an image is from what can be printed."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from quintain.core.errors import SettingError
from quintain.models.preprocessing.jpeg import JPEG
from quintain.threats.rng import ExampleRNG

QUALITIES = (50, 60, 70, 80, 90)
"""The JPEG qualities that a camera is drawn from."""

LUMA = (0.299, 0.587, 0.114)
PAPER, INK, GRAYED = 0.92, 0.06, 0.10
"""Of a middling office printer, not of a measured one: the lightest and the darkest print, and how much
colors are grayed.
"""


@dataclass(frozen=True, slots=True)
class Printing:
    r"""A printer that cannot print every color, then a camera that blurs, adds noise and compresses.

    Its random settings are drawn for each example.

    .. math:: print(s) = k + (w - k)\big((1 - m) s + m\, luma(s)\big), \qquad
        photo(x) = jpeg_q\big(clamp(G_\sigma * x + n)\big)

    with the darkest and lightest print :math:`k, w`, the fraction of gray :math:`m` and the quality :math:`q`
    of each example.

    Args:
        gamut: How far :math:`k, w, m` stray from those of a middling printer.
        blur: The largest :math:`\sigma`, in pixels of the photo.
        noise: Standard deviation of :math:`n`.
        compressed: Whether photos are compressed, by the qualities 50 to 90. Rounding passes gradients on as
            they are: the cosine transform is orthogonal, so that this is the straight-through estimate of
            each of its roundings.

    Raises:
        SettingError: If a number is negative or not finite, or the gamut strays by more than 0.06.
    """

    gamut: float = 0.05
    blur: float = 0.8
    noise: float = 0.01
    compressed: bool = True

    def __post_init__(self) -> None:
        for name in ("gamut", "blur", "noise"):
            amount = getattr(self, name)
            if not (math.isfinite(amount) and amount >= 0):
                raise SettingError(f"{name} = {amount}; expected a finite number of at least 0")
        if self.gamut > INK:
            raise SettingError(
                f"gamut = {self.gamut:g}; expected at most {INK}: no print is darker than black"
            )

    def print_colors(self, stickers: Tensor, rng: ExampleRNG) -> Tensor:
        """Return stickers (B, C, h, w) in [0, 1] as they come out of the printer."""
        uniforms = self.gamut * (2 * rng.fold_in("gamut").uniform(stickers.new_empty(len(stickers), 3)) - 1)
        return gamut(stickers, *uniforms.view(-1, 3, 1, 1, 1).unbind(1))

    def photograph(self, images: Tensor, rng: ExampleRNG) -> Tensor:
        """Return images (B, C, H, W) in [0, 1] as the camera gives them back, in [0, 1]."""
        uniforms = rng.fold_in("camera").uniform(images.new_empty(len(images), 2))
        photo = (
            gaussian_blur(images, self.blur * uniforms[:, 0], math.ceil(3 * self.blur))
            if self.blur
            else images
        )
        if self.noise:
            photo = (photo + self.noise * rng.fold_in("noise").normal(photo)).clamp(0, 1)
        if not self.compressed:
            return photo
        choice = (uniforms[:, 1] * len(QUALITIES)).long().clamp(max=len(QUALITIES) - 1)
        with torch.no_grad():
            # a JPEG quality per image, with a straight-through gradient
            compressed = torch.empty_like(photo)
            for index in choice.unique().tolist():
                rows = choice == index
                compressed[rows] = JPEG(QUALITIES[index]).to(photo.device)(photo[rows])
        return photo + (compressed - photo).detach()


def gamut(
    image: Tensor, ink: Tensor | float = 0.0, paper: Tensor | float = 0.0, grayed: Tensor | float = 0.0
) -> Tensor:
    """Return the colors (..., C, h, w) that a printer gives for those asked for.

    By how far it strays from a middling one.
    """
    gray = (
        (image * image.new_tensor(LUMA).view(3, 1, 1)).sum(-3, keepdim=True)
        if image.shape[-3] == 3
        else image
    )
    gray_fraction, darkest = GRAYED + grayed, INK + ink
    return darkest + (PAPER + paper - darkest) * ((1 - gray_fraction) * image + gray_fraction * gray)


def gaussian_blur(images: Tensor, sigma: Tensor, half_width: int) -> Tensor:
    """Return images (B, C, H, W) blurred by a Gaussian of each one's own ``sigma`` (B,).

    The Gaussian is cut off beyond ``half_width`` pixels.

    Edges are repeated.
    """
    at = torch.arange(-half_width, half_width + 1, dtype=images.dtype, device=images.device)
    weight = torch.exp(-at.square() / (2 * sigma.clamp(min=1e-3)[:, None].square()))
    weight = (weight / weight.sum(1, keepdim=True)).repeat_interleave(images.shape[1], 0)
    # separable Gaussian, one sigma per image: one group per image and channel
    planes = functional.pad(images, (half_width,) * 4, mode="replicate").flatten(0, 1)[None]
    down = functional.conv2d(planes, weight[:, None, :, None], groups=len(weight))
    return functional.conv2d(down, weight[:, None, None, :], groups=len(weight)).view_as(images)


def palette(channels: int, levels: int = 5) -> Tensor:
    """Return colors (n, C) that a middling printer can print.

    They are the prints of a regular grid of colors, or of grays for one channel.

    Raises:
        SettingError: If there are neither one nor three channels.
    """
    if channels not in (1, 3):
        raise SettingError(
            f"images of {channels} channels; what can be printed is known for 1 (gray) or 3 (RGB)"
        )
    line = torch.linspace(0, 1, levels if channels == 3 else levels**2)
    grid = torch.cartesian_prod(*[line] * channels).view(-1, channels, 1, 1)
    return gamut(grid).flatten(1)


def non_printability(image: Tensor, colors: Tensor, alpha: Tensor | None = None) -> Tensor:
    r"""Return how far an image is from what can be printed, a scalar.

    It is the mean distance of the image's pixels to the nearest printable color.

    .. math:: NPS(s) = \frac{\sum_i \alpha_i \min_{c \in P} \|s_i - c\|_2}{\sum_i \alpha_i}

    The product over colors of the original score underflows for a palette of this size, and its gradient
    with it.

    Args:
        image: Colors (C, h, w) in [0, 1].
        colors: The printable ones (n, C), such as ``palette(3)``.
        alpha: How much each pixel counts (1, h, w) or (h, w); all the same if not given.

    Source: Sharif et al., 2016, Accessorize to a Crime (CCS), with a minimum for the product.
    """
    nearest = torch.cdist(
        image.flatten(1).T, colors.to(image), compute_mode="donot_use_mm_for_euclid_dist"
    ).amin(1)
    weight = torch.ones_like(nearest) if alpha is None else alpha.flatten().to(nearest)
    return (weight * nearest).sum() / weight.sum()


def total_variation(image: Tensor) -> Tensor:
    """Return the mean size of the steps between neighboring pixels of (C, h, w), a scalar.

    The steps are those to the neighbors below and to the right.

    Source: Mahendran and Vedaldi, 2015, arXiv:1412.0035.
    """
    down, right = image[:, 1:, :-1] - image[:, :-1, :-1], image[:, :-1, 1:] - image[:, :-1, :-1]
    return (down.square() + right.square() + 1e-8).sqrt().mean()
