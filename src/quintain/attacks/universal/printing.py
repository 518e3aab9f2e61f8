"""A model of printing a sticker and photographing it, and losses for patterns that print well."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from quintain.core.errors import SettingError
from quintain.models.preprocessing.jpeg import JPEG
from quintain.threats.rng import ExampleRNG

QUALITIES = (50, 60, 70, 80, 90)
"""The JPEG qualities that a camera's quality is drawn from."""

LUMA = (0.299, 0.587, 0.114)
PAPER, INK, GRAY_FRACTION = 0.92, 0.06, 0.10
"""The lightest and the darkest print and the fraction of gray in colors, of an assumed average office
printer: none was measured.
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
        gamut: Largest difference of :math:`k, w, m` from those of an average printer, either way.
        blur: The largest :math:`\sigma`, in pixels of the photo.
        noise: Standard deviation of :math:`n`.
        compressed: Whether photos are compressed, with a quality of 50, 60, 70, 80 or 90. Compression passes
            gradients on unchanged: a straight-through estimate of its roundings, whose transforms it undoes.

    Raises:
        SettingError: If a number is negative or not finite, or ``gamut`` is above 0.06.
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
        return simulate_print(stickers, *uniforms.view(-1, 3, 1, 1, 1).unbind(1))

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


def simulate_print(
    image: Tensor,
    ink_offset: Tensor | float = 0.0,
    paper_offset: Tensor | float = 0.0,
    gray_offset: Tensor | float = 0.0,
) -> Tensor:
    """Return the colors (..., C, h, w) that a printer makes of the colors of an image (..., C, h, w).

    Args:
        image: In [0, 1]; its luma is taken of three channels, else each channel is its own gray.
        ink_offset, paper_offset, gray_offset: Differences of this printer's darkest and lightest print, and
            of its fraction of gray, from those of an average printer.
    """
    gray = (
        (image * image.new_tensor(LUMA).view(3, 1, 1)).sum(-3, keepdim=True)
        if image.shape[-3] == 3
        else image
    )
    gray_fraction, darkest, lightest = GRAY_FRACTION + gray_offset, INK + ink_offset, PAPER + paper_offset
    return darkest + (lightest - darkest) * ((1 - gray_fraction) * image + gray_fraction * gray)


def gaussian_blur(images: Tensor, sigma: Tensor, half_width: int) -> Tensor:
    """Return images (B, C, H, W) blurred by a Gaussian of each one's own ``sigma`` (B,).

    The Gaussian is cut off beyond ``half_width`` pixels, and the image's edge pixels are repeated outside of
    it.
    """
    at = torch.arange(-half_width, half_width + 1, dtype=images.dtype, device=images.device)
    weight = torch.exp(-at.square() / (2 * sigma.clamp(min=1e-3)[:, None].square()))
    weight = (weight / weight.sum(1, keepdim=True)).repeat_interleave(images.shape[1], 0)
    # separable Gaussian, one sigma per image: one group per image and channel
    planes = functional.pad(images, (half_width,) * 4, mode="replicate").flatten(0, 1)[None]
    down = functional.conv2d(planes, weight[:, None, :, None], groups=len(weight))
    return functional.conv2d(down, weight[:, None, None, :], groups=len(weight)).view_as(images)


def palette(channels: int, levels: int = 5) -> Tensor:
    """Return colors (n, C) that an average printer can print.

    They are the prints of a regular grid of ``levels`` values per channel, or of ``levels**2`` grays.

    Raises:
        SettingError: If there are neither one nor three channels.
    """
    if channels not in (1, 3):
        raise SettingError(
            f"images of {channels} channels; what can be printed is known for 1 (gray) or 3 (RGB)"
        )
    line = torch.linspace(0, 1, levels if channels == 3 else levels**2)
    grid = torch.cartesian_prod(*[line] * channels).view(-1, channels, 1, 1)
    return simulate_print(grid).flatten(1)


def non_printability(image: Tensor, colors: Tensor, alpha: Tensor | None = None) -> Tensor:
    r"""Return the non-printability score: the mean distance of pixels to the nearest printable color.

    .. math:: NPS(s) = \frac{\sum_i \alpha_i \min_{c \in P} \|s_i - c\|_2}{\sum_i \alpha_i}

    The original score multiplies the distances to all printable colors; for a palette of this size the
    product and its gradient underflow.

    Args:
        image: Colors (C, h, w) in [0, 1].
        colors: The printable ones (n, C), such as ``palette(3)``.
        alpha: Weight of each pixel (1, h, w) or (h, w), not all 0; equal if not given.

    Source: Sharif et al., 2016, Accessorize to a Crime (CCS), with a minimum for the product.
    """
    nearest = torch.cdist(
        image.flatten(1).T, colors.to(image), compute_mode="donot_use_mm_for_euclid_dist"
    ).amin(1)
    weight = torch.ones_like(nearest) if alpha is None else alpha.flatten().to(nearest)
    return (weight * nearest).sum() / weight.sum()


def total_variation(image: Tensor) -> Tensor:
    """Return the mean Euclidean size of the steps from each pixel to its neighbors below and right, a scalar.

    Pixels of the last row and column have no such neighbors and are left out.

    Args:
        image: (C, h, w), at least two pixels high and wide.

    Source: Mahendran and Vedaldi, 2015, arXiv:1412.0035.
    """
    down, right = image[:, 1:, :-1] - image[:, :-1, :-1], image[:, :-1, 1:] - image[:, :-1, :-1]
    return (down.square() + right.square() + 1e-8).sqrt().mean()
