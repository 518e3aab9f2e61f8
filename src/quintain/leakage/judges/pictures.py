r"""How many pictures were rebuilt: guesses are matched to the originals, and so are those of no update.

A picture is rebuilt where its guess is nearer to it, by a margin, than anything that needs no update. What
that is has the same freedom as the guesses: it is matched to the originals with the answers at hand.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.optimize import linear_sum_assignment

from quintain.core.errors import DataError, SettingError
from quintain.core.statistics import binomial_interval
from quintain.leakage.attack import LeakJudgment
from quintain.leakage.judges.intervals import chernoff_interval, median_interval
from quintain.results.privacy_records import LEAK_MARGIN

Images = NDArray[np.floating]
Floats = NDArray[np.float64]
Quality = Literal["psnr", "ssim"]

MAX_PSNR = 100.0
"""PSNR in dB at which a guess counts as exact: an error of 1e-5 at each pixel."""

NEAREST = 64
"""Public pictures, nearest by squared error, among which the one of the largest SSIM is sought."""

_SIGMA, _RADIUS = 1.5, 5
"""Of the window of SSIM: 11 pixels wide."""


def psnr_table(guesses: Images, originals: Images) -> Floats:
    """Return the PSNR in dB (k, n) of each guess (k, *S) at each original (n, *S), from 0 to ``MAX_PSNR``."""
    size = math.prod(originals.shape[1:])
    a = np.clip(guesses, 0, 1).reshape(len(guesses), size).astype(np.float64)
    b = originals.reshape(len(originals), size).astype(np.float64)
    errors = np.stack([np.square(a - one).mean(1) for one in b], 1) if len(b) else np.zeros((len(a), 0))
    return np.clip(-10 * np.log10(np.maximum(errors, 10 ** (-MAX_PSNR / 10))), 0, MAX_PSNR)


def ssim_table(guesses: Images, originals: Images) -> Floats:
    r"""Return the structural similarity (k, n) of each guess at each original, pictures (C, H, W) in [0, 1].

    .. math:: \frac{(2 \mu_a \mu_b + c_1)(2 \sigma_{ab} + c_2)}
        {(\mu_a^2 + \mu_b^2 + c_1)(\sigma_a^2 + \sigma_b^2 + c_2)},\quad c_1 = 0.01^2,\; c_2 = 0.03^2

    with moments in a Gaussian window of deviation 1.5 and 11 pixels, averaged over the pixels whose window
    lies inside, or over all where there are none, and over colors.

    Source: Wang, Bovik, Sheikh and Simoncelli, 2004, IEEE TIP 13(4).
    """
    smooth = partial(gaussian_filter, sigma=(0, 0, _SIGMA, _SIGMA), radius=(0, 0, _RADIUS, _RADIUS))
    a, b = np.clip(guesses, 0, 1).astype(np.float64), originals.astype(np.float64)
    if not len(a) or not len(b):
        return np.zeros((len(a), len(b)))
    height, width = a.shape[-2:]
    inside = (slice(_RADIUS, height - _RADIUS), slice(_RADIUS, width - _RADIUS))
    cut = inside if min(height, width) > 2 * _RADIUS else (slice(None), slice(None))
    mean_a, mean_b = smooth(a), smooth(b)
    var_a, var_b = smooth(a * a) - mean_a**2, smooth(b * b) - mean_b**2
    columns = []
    for one, mean, var in zip(b, mean_b, var_b, strict=True):
        covariance = smooth(a * one) - mean_a * mean
        similarity = (2 * mean_a * mean + 1e-4) * (2 * covariance + 9e-4)
        similarity /= (mean_a**2 + mean**2 + 1e-4) * (var_a + var + 9e-4)
        columns.append(similarity[..., *cut].mean((1, 2, 3)))
    return np.stack(columns, 1)


def quality_table(guesses: Images, originals: Images, quality: Quality) -> Floats:
    """Return how near each guess (k, *S) is to each original (n, *S), larger is nearer: (k, n)."""
    return (psnr_table if quality == "psnr" else ssim_table)(guesses, originals)


@dataclass(frozen=True, slots=True)
class MatchedPictures:
    """Guesses assigned to originals, each at most once.

    Args:
        qualities: (n,) of the guess of each original; 0 where it has none.
        guesses: (n,) the row of the guess; -1 where it has none.
    """

    qualities: Floats
    guesses: NDArray[np.int64]


def match_pictures(guesses: Images, originals: Images, quality: Quality = "psnr") -> MatchedPictures:
    """Assign guesses (k, *S) to originals (n, *S) such that their qualities add up to the most.

    Source: the assignment problem (Kuhn, 1955), by ``scipy.optimize.linear_sum_assignment``.

    Raises:
        DataError: If shapes differ, or a guess is not finite.
    """
    if guesses.shape[1:] != originals.shape[1:]:
        raise DataError(
            f"guesses of shape {guesses.shape[1:]} at pictures of shape {originals.shape[1:]}; expected the "
            "same"
        )
    if not np.isfinite(guesses).all():
        raise DataError("guesses that hold NaN or infinity; expected numbers in [0, 1]")
    table = quality_table(guesses, originals, quality)
    rows, columns = linear_sum_assignment(table, maximize=True)
    qualities, chosen = np.zeros(len(originals)), np.full(len(originals), -1)
    qualities[columns], chosen[columns] = table[rows, columns], rows
    return MatchedPictures(qualities, chosen)


class KnownPictures:
    """What is known of a picture without any update: means, public pictures, and one color.

    Each original gets the best of them for itself, as many times as it is the best: that is no less than any
    matching of as many tries at public pictures gives.

    Args:
        public: (P, *S) pictures that everybody knows.
        labels: (P,) theirs.
    """

    def __init__(self, public: Images, labels: NDArray[np.integer]) -> None:
        if not len(public):
            raise DataError("no public picture; expected some to compare reconstructions with")
        self.public = public
        # The mean of a single picture is that picture, which the nearest one covers.
        common = [one for one in np.unique(labels) if (labels == one).sum() > 1]
        self.means = np.stack([public.mean(0), *(public[labels == one].mean(0) for one in common)])

    def best(self, originals: Images, quality: Quality = "psnr") -> tuple[Floats, Images]:
        """Return the quality (n,) of the best for each original (n, *S), and those pictures (n, *S)."""
        found = [self._best(one, quality) for one in originals]
        return np.array([value for value, _ in found]), np.stack([image for _, image in found])

    def _best(self, original: Images, quality: Quality) -> tuple[float, Images]:
        flat = self.public.reshape(len(self.public), -1)
        errors = np.square(flat - original.reshape(1, -1)).mean(1)
        nearest = self.public[np.argsort(errors, kind="stable")[: 1 if quality == "psnr" else NEAREST]]
        flat_color = np.broadcast_to(original.mean((-2, -1), keepdims=True), original.shape)
        images = np.concatenate([self.means, nearest, flat_color[None]])
        values = quality_table(images, original[None], quality)[:, 0]
        return float(values.max()), images[values.argmax()]


@dataclass(frozen=True, slots=True)
class GuessedUpdate:
    """The pictures behind one update, and what was guessed of them.

    Args:
        originals: (n, *S).
        guesses: (k, *S), in any order; k may be 0.
        blind: (m, *S) what the same attack guessed of an update in which none of them has a part.
    """

    originals: Images
    guesses: Images
    blind: Images


@dataclass(frozen=True, slots=True)
class JudgedPictures:
    """All pictures behind some updates, one after the other.

    Args:
        qualities: (N,) of the guess of each picture.
        floors: (N,) the best that needs no update in which it has a part, the blind guess included.
        known: (N,) the same without the blind guess.
        blind: (N,) of the blind guess, matched as the guesses are.
        updates: (N,) the number of its update.
        guesses: (N,) the row of its guess among those of its update; -1 where it has none.
        quality: What the numbers are.
    """

    qualities: Floats
    floors: Floats
    known: Floats
    blind: Floats
    updates: NDArray[np.int64]
    guesses: NDArray[np.int64]
    quality: Quality

    def rebuilt(self, margin: float = LEAK_MARGIN) -> NDArray[np.bool_]:
        """Return which pictures are rebuilt: nearer by the margin than what needs no update (N,)."""
        return (self.qualities > self.floors) & (self.qualities >= self.floors + margin)

    @property
    def most_exposed(self) -> int:
        """The picture whose guess gains most on what is known without its update."""
        return int((self.qualities - self.floors).argmax())


def compare_pictures(
    updates: Sequence[GuessedUpdate], known: KnownPictures, quality: Quality = "psnr"
) -> JudgedPictures:
    """Match the guesses of each update, and what needs none of it, to its pictures.

    Raises:
        SettingError: If there is no update.
        DataError: If shapes differ, or a guess is not finite.
    """
    if not updates:
        raise SettingError("no update; expected at least one whose pictures were guessed")
    matches = [match_pictures(one.guesses, one.originals, quality) for one in updates]
    blind = np.concatenate([match_pictures(one.blind, one.originals, quality).qualities for one in updates])
    floor = np.concatenate([known.best(one.originals, quality)[0] for one in updates])
    return JudgedPictures(
        qualities=np.concatenate([one.qualities for one in matches]),
        floors=np.maximum(floor, blind),
        known=floor,
        blind=blind,
        updates=np.repeat(np.arange(len(updates)), [len(one.originals) for one in updates]),
        guesses=np.concatenate([one.guesses for one in matches]),
        quality=quality,
    )


def judge_rebuilt(
    judged: JudgedPictures, *, margin: float = LEAK_MARGIN, confidence: float = 0.95
) -> LeakJudgment:
    """Judge by the fraction of pictures that are rebuilt.

    The baseline is the fraction that the same attack rebuilds of pictures that have no part in its update.
    The interval speaks of updates like these: it is Clopper and Pearson's where each holds one picture, and
    ``chernoff_interval`` of the fractions by update where pictures share one. Updates count as independent:
    where the blind guess of one is made of another, the two are tied as far as that guess is the best known.
    """
    hits = judged.rebuilt(margin)
    by_update = np.array([hits[judged.updates == one].mean() for one in np.unique(judged.updates)])
    single = len(by_update) == len(hits)
    low, high = (
        binomial_interval(int(hits.sum()), len(hits), confidence)
        if single
        else chernoff_interval(by_update, confidence)
    )
    return LeakJudgment(
        measure="pictures rebuilt",
        value=float(by_update.mean()),
        low=low,
        high=high,
        baseline=float((judged.blind >= judged.known + margin).mean()),
        baseline_name="the same attack on an update without the picture",
        unit="image",
        confidence=confidence,
        per_example=tuple((judged.qualities - judged.floors).tolist()),
    )


def judge_quality(judged: JudgedPictures, *, confidence: float = 0.95) -> LeakJudgment:
    """Judge by the median over updates of the mean quality of all their pictures, PSNR in dB or SSIM.

    The baseline is the same of the best that needs no update. The interval is between order statistics,
    whatever the distribution; with fewer than 6 updates none has a confidence of 95 %, and it is all that a
    quality can be.
    """
    names = np.unique(judged.updates)
    values = np.array([judged.qualities[judged.updates == one].mean() for one in names])
    floors = np.array([judged.floors[judged.updates == one].mean() for one in names])
    low, high = median_interval(values, confidence)
    least, most = (0.0, MAX_PSNR) if judged.quality == "psnr" else (-1.0, 1.0)
    return LeakJudgment(
        measure="PSNR in dB" if judged.quality == "psnr" else "SSIM",
        value=float(np.median(values)),
        low=max(low, least),
        high=min(high, most),
        baseline=float(np.median(floors)),
        baseline_name="the best of means, public pictures, one color and another update",
        unit="update",
        confidence=confidence,
        per_example=tuple(judged.qualities.tolist()),
    )
