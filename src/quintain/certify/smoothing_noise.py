r"""The noise of randomized smoothing: how it is drawn, and which radius a probability proves.

With p the probability that a noisy copy is classified as y, the smoothed classifier answers y everywhere
closer than R,

.. math:: R = \sigma\, \Phi^{-1}(p) \;\text{ in L2, for } N(0, \sigma^2 I), \qquad
    R = 2 \sqrt 3\, \sigma\, (p - \tfrac12) \;\text{ in L1, for } U(-\sqrt 3 \sigma, \sqrt 3 \sigma)^d.

Of the second: cubes of side :math:`2\lambda` around x and x' have in common
:math:`\prod_i (1 - |x_i - x'_i| / 2\lambda) \ge 1 - \|x - x'\|_1 / 2\lambda` of their volume, and no
probability changes by more than the rest.

Source: Cohen et al., 2019, arXiv:1902.02918; Yang et al., 2020, arXiv:2002.08118.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from quintain.threats.l1 import L1
from quintain.threats.l2 import L2

Floats = npt.NDArray[np.float64]
NoiseName = Literal["gaussian", "uniform"]

SMALLEST_TAIL = 1e-300
"""Of a radius that no probability proves."""


def fill_normal(block: Tensor, generator: torch.Generator) -> Tensor:
    """Fill a block with standard normal numbers, and return it."""
    return block.normal_(generator=generator)


@dataclass(frozen=True, slots=True)
class Noise:
    """A law of noise; radii are told in units of ``unit`` standard deviations.

    Args:
        name: Its name.
        ball: The kind of ball that it certifies.
        unit: So many standard deviations are 1 in what follows.
        max_ratio: No probability that is met proves a radius of more.
    """

    name: NoiseName
    ball: type[L1] | type[L2]
    unit: float
    max_ratio: float

    def fill(self, block: Tensor, generator: torch.Generator) -> Tensor:
        """Fill a block with noise of standard deviation 1, and return it."""
        if self.name == "uniform":
            return block.uniform_(-self.unit, self.unit, generator=generator)
        return fill_normal(block, generator)

    def tail(self, ratio: Floats) -> Floats:
        """Return 1 - p for the p that just proves radii, given in units."""
        from scipy.special import ndtr

        if self.name == "uniform":
            return np.asarray(np.maximum((1 - ratio) / 2, SMALLEST_TAIL))
        return np.asarray(ndtr(-ratio))

    def ratio(self, probability: float) -> float:
        """Return the radius, in units, that a probability proves; -inf at 0."""
        from scipy.special import ndtri

        if self.name == "uniform":
            return 2 * probability - 1 if probability > 0 else -math.inf
        return float(ndtri(probability))

    def gap(self, ratio: Tensor) -> Tensor:
        """Return by how much the first class leads at a distance of so many units from where it may lose."""
        if self.name == "uniform":
            return ratio.clamp(-1, 1)
        return 2 * torch.special.ndtr(ratio) - 1


GAUSSIAN = Noise("gaussian", L2, 1.0, 10.0)
UNIFORM = Noise("uniform", L1, float(np.float32(math.sqrt(3))), 1.0)
"""Its half width is a number of float32, in which it is drawn."""

NOISES: dict[str, Noise] = {one.name: one for one in (GAUSSIAN, UNIFORM)}
