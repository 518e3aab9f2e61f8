"""What is known of a picture without the update that it caused: means, public pictures, and one color."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from quintain.core.statistics import psnr
from quintain.data.dataset import Dataset

MIN_PICTURES = 100
"""With fewer public pictures than this, notes say that they are a weak baseline."""


def psnr_between(image: Tensor, original: Tensor) -> float:
    """Return the PSNR of an image against an original, both (*S), in dB; the image is cut to [0, 1]."""
    return psnr(float((image.clamp(0, 1).double() - original.double()).square().mean()))


class PublicPictures:
    """What is known of a picture without any update.

    Args:
        data: Pictures of the same kind.
        rows: Those of them that everybody knows.
        needed: Pictures beside them that a run takes, for a message.
    """

    def __init__(self, data: Dataset, rows: NDArray[np.int64], *, needed: int) -> None:
        self._needed = needed
        self._public, labels = data.batch(np.sort(rows))
        self.count = len(self._public)
        # The mean of a single picture is that picture, which the nearest one covers.
        common = (labels.bincount() > 1).nonzero().flatten()
        self._means = (self._public.mean(0), *(self._public[labels == one].mean(0) for one in common))

    def mean(self, original: Tensor) -> Tensor:
        """Of the mean of all and the means of all classes, the one nearest to the original."""
        return max(self._means, key=lambda image: psnr_between(image, original))

    def nearest(self, original: Tensor) -> Tensor:
        """Of the public pictures, the one nearest to the original."""
        return self._public[(self._public - original).square().flatten(1).mean(1).argmin()]

    @staticmethod
    def constant(original: Tensor) -> Tensor:
        """Of the pictures of one color, gray at 0.5 among them, the one nearest to the original: its mean."""
        return original.mean((-2, -1), keepdim=True).expand_as(original)

    def best(self, original: Tensor) -> float:
        """How near the best of them comes, in dB: what an attack has to beat."""
        return max(
            psnr_between(guess(original), original) for guess in (self.mean, self.nearest, self.constant)
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader is told where there is little to compare with."""
        if not self.is_few:
            return ()
        plural = "" if self.count == 1 else "s"
        return (
            f"only {self.count} public picture{plural} to compare with: more than they show is known without "
            "an update, so that a rebuilt picture that is a little nearer is no evidence of a leak; give "
            f"data with at least {MIN_PICTURES + self._needed} pictures",
        )

    @property
    def is_few(self) -> bool:
        """Whether there are too few of them for a meaningful baseline."""
        return self.count < MIN_PICTURES
