r"""The noise of randomized smoothing: how it is drawn, and which radius a probability proves.

With p the probability that a noisy copy is classified as y, the smoothed classifier answers y everywhere
closer than R,

.. math:: R = \sigma\, \Phi^{-1}(p) \;\text{ in L2, for } N(0, \sigma^2 I), \qquad
    R = 2 \sqrt 3\, \sigma\, (p - \tfrac12) \;\text{ in L1, for } U(-\sqrt 3 \sigma, \sqrt 3 \sigma)^d, \qquad
    R = -b \ln(2 (1 - p)) \;\text{ in L1, for } Laplace(b)^d,\; b = \sigma / \sqrt 2.

Of the second: cubes of side :math:`2\lambda` around x and x' have in common
:math:`\prod_i (1 - |x_i - x'_i| / 2\lambda) \ge 1 - \|x - x'\|_1 / 2\lambda` of their volume, and no
probability changes by more than the rest.

Of the third: densities around x and x' differ by a factor of at most :math:`e^{r/b}`, with r the distance in
L1. So the probability of another answer, at most 1 - p around x, is at most :math:`e^{r/b} (1 - p)` around
x', which is below 1/2 where r < R. Beyond R, and where p < 1/2 already, y keeps a probability of at least
:math:`\tfrac12 e^{-(r - R)/b}`, with R = b ln(2 p) in the second case. Both are exact where the answer
changes at one value of one coordinate.

Source: Cohen et al., 2019, arXiv:1902.02918; Yang et al., 2020, arXiv:2002.08118; Laplace: Lecuyer et al.,
2019, arXiv:1802.03471, and with this radius Teng et al., 2020, "l1 adversarial robustness certificates".
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from quintain.threats.l1 import L1
from quintain.threats.l2 import L2

Floats = npt.NDArray[np.float64]
NoiseName = Literal["gaussian", "uniform", "laplace"]

SMALLEST_TAIL = 1e-300
"""Of a radius that no probability proves."""


def fill_normal(block: Tensor, generator: torch.Generator) -> Tensor:
    """Fill a block with standard normal numbers, and return it."""
    return block.normal_(generator=generator)


@dataclass(frozen=True, slots=True)
class Noise(ABC):
    """A law of noise; radii are told in units of ``unit`` standard deviations.

    Args:
        name: Its name.
        title: Its name in sentences.
        ball: The kind of ball that it certifies.
        unit: So many standard deviations are 1 in what follows.
        max_ratio: No larger radius is certified, however many noise samples agree: numbers drawn in float32
            are too few there to stand for the law, and end a little beyond.
    """

    name: NoiseName
    title: str
    ball: type[L1] | type[L2]
    unit: float
    max_ratio: float

    @abstractmethod
    def fill(self, block: Tensor, generator: torch.Generator) -> Tensor:
        """Fill a block with noise of standard deviation 1, and return it."""

    @abstractmethod
    def tail(self, ratio: Floats) -> Floats:
        """Return 1 - p for the p that just proves radii, given in units."""

    @abstractmethod
    def ratio(self, probability: float) -> float:
        """Return the radius, in units, that a probability proves; -inf at 0."""

    @abstractmethod
    def gap(self, ratio: Tensor) -> Tensor:
        """Return by how much the first class leads at a distance of so many units from where it may lose."""


class GaussianNoise(Noise):
    """Independent normal numbers; the unit is a standard deviation."""

    __slots__ = ()

    def fill(self, block: Tensor, generator: torch.Generator) -> Tensor:
        """Fill a block with standard normal numbers, and return it."""
        return fill_normal(block, generator)

    def tail(self, ratio: Floats) -> Floats:
        """Return 1 - p for the p that just proves radii."""
        from scipy.special import ndtr

        return np.asarray(ndtr(-ratio))

    def ratio(self, probability: float) -> float:
        """Return the radius that a probability proves; -inf at 0."""
        from scipy.special import ndtri

        return float(ndtri(probability))

    def gap(self, ratio: Tensor) -> Tensor:
        """Return the lead that is left."""
        return 2 * torch.special.ndtr(ratio) - 1


class UniformNoise(Noise):
    """Independent uniform numbers; the unit is half the side of their cube."""

    __slots__ = ()

    def fill(self, block: Tensor, generator: torch.Generator) -> Tensor:
        """Fill a block with uniform numbers, and return it."""
        return block.uniform_(-self.unit, self.unit, generator=generator)

    def tail(self, ratio: Floats) -> Floats:
        """Return 1 - p for the p that just proves radii."""
        return np.asarray(np.maximum((1 - ratio) / 2, SMALLEST_TAIL))

    def ratio(self, probability: float) -> float:
        """Return the radius that a probability proves; -inf at 0."""
        return 2 * probability - 1 if probability > 0 else -math.inf

    def gap(self, ratio: Tensor) -> Tensor:
        """Return the lead that is left."""
        return ratio.clamp(-1, 1)


class LaplaceNoise(Noise):
    """Independent Laplace numbers; the unit is their scale b."""

    __slots__ = ()

    def fill(self, block: Tensor, generator: torch.Generator) -> Tensor:
        """Fill a block with Laplace numbers, and return it."""
        # The inverse of the distribution function, of numbers that lie evenly between -1 and 1: multiples of
        # 2^-23, moved by half of that, so that none is 0 or 1 in size. float32 has them exactly.
        block.uniform_(-1, 1, generator=generator).add_(2.0**-24)
        size = block.abs().neg_().log1p_().mul_(-self.unit)
        return torch.copysign(size, block, out=block)

    def tail(self, ratio: Floats) -> Floats:
        """Return 1 - p for the p that just proves radii."""
        return np.asarray(np.exp(-ratio) / 2)

    def ratio(self, probability: float) -> float:
        """Return the radius that a probability proves; -inf at 0."""
        if probability <= 0:
            return -math.inf
        if probability < 0.5:
            return math.log(2 * probability)
        return -math.log(2 * (1 - probability)) if probability < 1 else math.inf

    def gap(self, ratio: Tensor) -> Tensor:
        """Return the lead that is left."""
        return -torch.expm1(-ratio.abs()) * ratio.sign()


GAUSSIAN = GaussianNoise("gaussian", "Gaussian", L2, 1.0, 5.0)
"""Normal numbers that torch makes of 24 bits end at 5.77; a radius of 5 takes 24 million samples that agree.
"""
UNIFORM = UniformNoise("uniform", "uniform", L1, float(np.float32(math.sqrt(3))), 1.0)
"""Its half width is a number of float32, in which it is drawn."""
LAPLACE = LaplaceNoise("laplace", "Laplace", L1, float(np.float32(math.sqrt(0.5))), 12.0)
"""Its scale is a number of float32, in which it is drawn. Of the 2^24 numbers, which end at 16.6, 51 lie
beyond 12 on each side; a radius of 12 takes 2 million samples that agree.
"""

NOISES: dict[str, Noise] = {one.name: one for one in (GAUSSIAN, UNIFORM, LAPLACE)}
