"""The scattering transform: fixed features of a two-layer convolutional net whose filters are wavelets."""

import math
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quintain.core.errors import SettingError

ALIASES = range(-2, 3)
"""Periods of the spectrum that are summed; those beyond are below the rounding of float64."""


class Scattering(nn.Module):
    r"""Averages of the moduli of wavelet coefficients, to order two.

    .. math:: S x = \{\, x \star \phi,\; |x \star \psi_{j,\theta}| \star \phi,\;
        ||x \star \psi_{j,\theta}| \star \psi_{j',\theta'}| \star \phi \,\}_{j < j' < J}

    at steps of :math:`2^J` pixels, with Morlet wavelets :math:`\psi` of widths :math:`0.8 \cdot 2^j` and a
    Gaussian :math:`\phi`; edges are mirrored. Nothing is learned, so that nothing is spent: a linear layer on
    top is the baseline that private deep nets have to beat on small data.

    It takes (B, C, size, size) and gives (B, C K, size / 2^J, size / 2^J) with :math:`K = 1 + J L + L^2 J (J
    - 1) / 2`: 81 channels of 7x7 for gray images of 28x28.

    Args:
        size: Pixels of a side, a multiple of :math:`2^J`.
        scales: J.
        angles: L.

    Guarantee: the wavelets and the average together never add energy (:math:`|\hat\phi|^2 + \frac12 \sum
    |\hat\psi(\omega)|^2 + |\hat\psi(-\omega)|^2 \le 1`), so that each layer brings no two images further
    apart.

    Raises:
        SettingError: If the size is no multiple, or too small to mirror.

    Source: Mallat, 2012, arXiv:1101.2286; Oyallon & Mallat, 2015, arXiv:1412.8659; private training on top:
    Tramer & Boneh, 2021, arXiv:2011.11660.
    """

    low_pass: Tensor
    wavelets: Tensor

    def __init__(self, size: int, *, scales: int = 2, angles: int = 8) -> None:
        super().__init__()
        self.stride = 2**scales
        if scales < 1 or angles < 1 or size % self.stride or size <= self.stride:
            raise SettingError(
                f"got images of {size} pixels a side for {scales} scales and {angles} angles; expected at "
                f"least one of each, and a larger multiple of {self.stride} pixels: resize or pad them"
            )
        side = size + 2 * self.stride
        low, bands = morlet_filter_bank(side, scales, angles)
        self.register_buffer("low_pass", low.float(), persistent=False)
        self.register_buffer("wavelets", bands.float(), persistent=False)
        self.channels = 1 + scales * angles + angles**2 * scales * (scales - 1) // 2

    def forward(self, x: Tensor) -> Tensor:
        """The features (B, C K, size / 2^J, size / 2^J) of images (B, C, size, size)."""
        batch, colors, height, width = x.shape
        if not batch:
            return x.new_zeros(0, colors * self.channels, height // self.stride, width // self.stride)
        mirrored = F.pad(x.flatten(0, 1)[:, None], [self.stride] * 4, mode="reflect")
        spectrum = torch.fft.fft2(mirrored)
        first = [_modulus(spectrum * band) for band in self.wavelets]
        second = [
            _modulus(first[i][:, :, None] * self.wavelets[j]).flatten(1, 2)
            for i, j in combinations(range(len(first)), 2)
        ]
        features = torch.cat([self._smooth_and_subsample(each) for each in (spectrum, *first, *second)], 1)
        return features.view(batch, colors * self.channels, *features.shape[2:])

    def _smooth_and_subsample(self, spectrum: Tensor) -> Tensor:
        """Low-pass filtered, and every ``stride``-th pixel of it without the mirrored edge."""
        # subsampling by the stride averages the aliases of the spectrum
        side = spectrum.shape[-1] // self.stride
        smooth = (
            (spectrum * self.low_pass).unflatten(-1, (self.stride, side)).unflatten(-3, (self.stride, side))
        )
        return torch.fft.ifft2(smooth.mean((-4, -2))).real[..., 1:-1, 1:-1]


def morlet_filter_bank(side: int, scales: int, angles: int) -> tuple[Tensor, Tensor]:
    """Return real spectra of a Gaussian (side, side) and Morlet wavelets (scales, angles, side, side)."""
    low = _gaussian(side, 0.8 * 2 ** (scales - 1))
    bands = torch.stack(
        [
            torch.stack(
                [
                    _morlet(side, 2**scale, math.pi * angle_index / angles, 4 / angles)
                    for angle_index in range(angles)
                ]
            )
            for scale in range(scales)
        ]
    )
    # scale the wavelets so that |phi|^2 + (|psi(w)|^2 + |psi(-w)|^2) / 2 <= 1 everywhere but at 0: no energy
    # is added
    energy = bands.square().sum((0, 1))
    energy = (energy + energy.flip(0, 1).roll((1, 1), (0, 1))) / 2
    room = ((1 - low.square()) / energy).flatten()[1:]
    return low, bands * room.min().sqrt()


def _morlet(side: int, width: float, angle: float, slant: float) -> Tensor:
    """The spectrum of a Morlet wavelet: a wave under an elongated Gaussian, corrected to mean zero."""
    center = 3 * math.pi / 4 / width
    wave = _gaussian(side, 0.8 * width, angle, slant, center)
    mean = _gaussian(side, 0.8 * width, angle, slant)
    return wave - mean * (wave[0, 0] / mean[0, 0])


def _gaussian(side: int, width: float, angle: float = 0.0, slant: float = 1.0, center: float = 0.0) -> Tensor:
    """Return the spectrum of a sampled Gaussian that rides on a wave.

    ``width`` pixels along ``angle`` and ``width / slant`` across.
    """
    base = 2 * math.pi * torch.fft.fftfreq(side, dtype=torch.float64)
    total = torch.zeros(side, side, dtype=torch.float64)
    for down in ALIASES:
        for right in ALIASES:
            y, x = base[:, None] + 2 * math.pi * down, base[None, :] + 2 * math.pi * right
            along = x * math.cos(angle) + y * math.sin(angle) - center
            across = y * math.cos(angle) - x * math.sin(angle)
            total += torch.exp(-(along.square() + (across / slant).square()) * width**2 / 2)
    return total


def _modulus(spectrum: Tensor) -> Tensor:
    """The spectrum of the absolute value."""
    return torch.fft.fft2(torch.fft.ifft2(spectrum).abs())
