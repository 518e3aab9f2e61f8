r"""What pictures of a kind look like, learned from public ones: a linear space with scaled coordinates.

A picture that a model likes need not look like anything. An attack that searches among pictures such as the
public ones finds what a person would know again, and has some hundred coordinates to choose rather than
thousands.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from quintain.core.errors import DataError, SettingError
from quintain.core.limits import require_at_least
from quintain.data.dataset import READ_BATCH_SIZE, Dataset

BOX = 2.5
"""Coordinates stay within these many standard deviations: beyond lie pictures that only the model knows."""

MAX_PICTURES = 2000
"""As many public pictures are read at most."""


@dataclass(frozen=True, slots=True, eq=False)
class PicturePrior:
    r"""Pictures :math:`\mu + w B` with coordinates w that are about standard normal.

    Args:
        mean: The mean picture, flat (D,), float64.
        basis: Principal directions, each times the length of its unit (d, D), float64.
        shape: Shape S of a picture, of D numbers.
    """

    mean: Tensor
    basis: Tensor
    shape: tuple[int, ...]

    @property
    def dimension(self) -> int:
        """Number of coordinates d."""
        return len(self.basis)

    def render(self, w: Tensor) -> Tensor:
        """Return the pictures (n, *S), float32 in [0, 1], of coordinates (n, d); differentiable."""
        flat = (self.mean + w.double() @ self.basis).clamp(0, 1)
        return flat.float().view(-1, *self.shape)

    def encode(self, x: Tensor) -> Tensor:
        """Return the coordinates (n, d) in the box of the nearest pictures to some (n, *S)."""
        # The directions are orthogonal, so that each coordinate is a projection of its own.
        return ((x.double().flatten(1) - self.mean) @ self.basis.T / self.basis.square().sum(1)).clamp(
            -BOX, BOX
        )


def fit_prior(
    public: Dataset, *, components: int = 200, exponent: float = 0.5, mirror: bool = True
) -> PicturePrior:
    r"""Fit a prior on public pictures, by principal component analysis.

    With an exponent p of 1 coordinates are white over the public pictures. Of few people, these vary mostly
    by light and pose, and other people differ from them in small directions, too: with p below 1 the unit of
    direction i, where the pictures have a standard deviation :math:`s_i`, is :math:`c\, s_i^p`, with c such
    that draws are as far from the mean as the public pictures.

    Args:
        public: Pictures of the kind that is sought.
        components: Coordinates, at most; there are never more than directions in which the pictures differ.
        exponent: p, from 0 (all directions alike) to 1 (as in the public pictures).
        mirror: Whether to add each picture's mirror image; only where they have rows and columns.

    Raises:
        DataError: If there are fewer than two different pictures.
        SettingError: If there is no component, or the exponent is out of range.
    """
    require_at_least(1, components=components)
    if not 0 <= exponent <= 1:
        raise SettingError(f"exponent = {exponent}; expected 0 to 1")
    rows = np.linspace(0, len(public) - 1, min(len(public), MAX_PICTURES)).astype(np.int64)
    x = torch.cat([part.x for part in public.subset(rows).batches(READ_BATCH_SIZE)]).double()
    if mirror and x.ndim == 4:
        x = torch.cat([x, x.flip(-1)])
    flat = x.flatten(1)
    mean = flat.mean(0)
    _, spread, directions = torch.linalg.svd(flat - mean, full_matrices=False)
    # Directions that rounding alone makes are none.
    count = min(components, int((spread > 1e-9 * max(1.0, float(spread[0]))).sum()))
    if not count:
        raise DataError(
            f"all pictures of {public.name} are equal; expected pictures that differ, to learn from"
        )
    directions = directions[:count]
    # The sign of a direction is arbitrary; its largest entry is positive, whatever the library.
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    deviations = spread[:count] / len(flat) ** 0.5
    units = deviations**exponent
    units = units * (deviations.square().sum() / units.square().sum()).sqrt()
    basis = directions * largest.sign() * units[:, None]
    return PicturePrior(mean, basis, tuple(public.shape))
