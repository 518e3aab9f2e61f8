r"""How many pictures an attack on updates reconstructs: its guesses are matched to the originals and compared
with a baseline that needs no update.

A picture counts as reconstructed if its guess is nearer to it, by a margin, than the baseline. The baseline
gets the same freedom as the guesses: it, too, is matched to the originals with these known.
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

NUM_NEAREST = 64
"""The public picture with the largest SSIM is sought among so many that are nearest by squared error."""

_SIGMA, _RADIUS = 1.5, 5
"""Standard deviation and radius of SSIM's window, which is 11 pixels wide."""


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
        qualities: (n,) quality of the guess of each original; 0 where it has none.
        guess_rows: (n,) row of the guess of each original; -1 where it has none.
    """

    qualities: Floats
    guess_rows: NDArray[np.int64]


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
    qualities, guess_rows = np.zeros(len(originals)), np.full(len(originals), -1)
    qualities[columns], guess_rows[columns] = table[rows, columns], rows
    return MatchedPictures(qualities, guess_rows)


class KnownPictures:
    """What is known of a picture without any update: means, public pictures, and one color.

    Each original gets the best of them, even if another original has the same: so no original gets less than
    any matching of public pictures would give it.

    Args:
        public: (P, *S) pictures that everybody knows.
        labels: (P,) their labels.
    """

    def __init__(self, public: Images, labels: NDArray[np.integer]) -> None:
        if not len(public):
            raise DataError("no public picture; expected some to compare reconstructions with")
        self.public = public
        # The mean of a single picture is that picture, which the nearest one covers.
        common = [one for one in np.unique(labels) if (labels == one).sum() > 1]
        self.means = np.stack([public.mean(0), *(public[labels == one].mean(0) for one in common)])

    def best(self, originals: Images, quality: Quality = "psnr") -> tuple[Floats, Images]:
        """Return, for each original (n, *S), the nearest picture: qualities (n,) and pictures (n, *S)."""
        nearest = [self._best(one, quality) for one in originals]
        return np.array([value for value, _ in nearest]), np.stack([image for _, image in nearest])

    def _best(self, original: Images, quality: Quality) -> tuple[float, Images]:
        flat = self.public.reshape(len(self.public), -1)
        errors = np.square(flat - original.reshape(1, -1)).mean(1)
        nearest = self.public[np.argsort(errors, kind="stable")[: 1 if quality == "psnr" else NUM_NEAREST]]
        flat_color = np.broadcast_to(original.mean((-2, -1), keepdims=True), original.shape)
        images = np.concatenate([self.means, nearest, flat_color[None]])
        values = quality_table(images, original[None], quality)[:, 0]
        return float(values.max()), images[values.argmax()]


@dataclass(frozen=True, slots=True)
class GuessedUpdate:
    """The pictures behind one update, and what an attack guessed them to be.

    Args:
        originals: (n, *S) the pictures that the update was computed from.
        guesses: (k, *S) guesses from this update, in any order; k may be 0.
        unrelated_guesses: (m, *S) guesses of the same attack from an update without any of these pictures.
    """

    originals: Images
    guesses: Images
    unrelated_guesses: Images


@dataclass(frozen=True, slots=True)
class JudgedPictures:
    """The qualities of all pictures behind some updates, one picture after the other.

    Args:
        qualities: (N,) quality of each picture's guess.
        known_qualities: (N,) quality of the nearest known picture.
        unrelated_qualities: (N,) quality of the unrelated guess, matched as the guesses are.
        update_indices: (N,) index of each picture's update.
        guess_rows: (N,) row of each picture's guess among those of its update; -1 where it has none.
        quality: The measure of quality.
    """

    qualities: Floats
    known_qualities: Floats
    unrelated_qualities: Floats
    update_indices: NDArray[np.int64]
    guess_rows: NDArray[np.int64]
    quality: Quality

    @property
    def baselines(self) -> Floats:
        """The best quality (N,) without each picture's update: of known pictures and unrelated guesses."""
        return np.maximum(self.known_qualities, self.unrelated_qualities)

    def is_reconstructed(self, margin: float = LEAK_MARGIN) -> NDArray[np.bool_]:
        """Return which pictures (N,) have a guess that exceeds their baseline by the margin."""
        baselines = self.baselines
        return (self.qualities > baselines) & (self.qualities >= baselines + margin)

    @property
    def most_exposed(self) -> int:
        """The index of the picture whose guess exceeds its baseline most."""
        return int((self.qualities - self.baselines).argmax())


def compare_pictures(
    updates: Sequence[GuessedUpdate], known: KnownPictures, quality: Quality = "psnr"
) -> JudgedPictures:
    """Match the guesses of each update, the unrelated guesses and the known pictures to its originals.

    Raises:
        SettingError: If there is no update.
        DataError: If shapes differ, or a guess is not finite.
    """
    if not updates:
        raise SettingError("no update; expected at least one whose pictures were guessed")
    matches = [match_pictures(one.guesses, one.originals, quality) for one in updates]
    unrelated = [match_pictures(one.unrelated_guesses, one.originals, quality) for one in updates]
    return JudgedPictures(
        qualities=np.concatenate([one.qualities for one in matches]),
        known_qualities=np.concatenate([known.best(one.originals, quality)[0] for one in updates]),
        unrelated_qualities=np.concatenate([one.qualities for one in unrelated]),
        update_indices=np.repeat(np.arange(len(updates)), [len(one.originals) for one in updates]),
        guess_rows=np.concatenate([one.guess_rows for one in matches]),
        quality=quality,
    )


def judge_reconstructed(
    judged: JudgedPictures, *, margin: float = LEAK_MARGIN, confidence: float = 0.95
) -> LeakJudgment:
    """Judge by the fraction of pictures that are reconstructed.

    The baseline is the fraction that the same attack reconstructs from updates without the picture. The
    interval is for updates like these: Clopper-Pearson's if each update holds one picture, otherwise
    ``chernoff_interval`` over the fractions of the updates. It takes updates as independent; if the unrelated
    guess for one comes from another, they are dependent wherever that guess is the baseline.
    """
    hits = judged.is_reconstructed(margin)
    by_update = np.array([hits[rows].mean() for rows in _rows_by_update(judged)])
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
        baseline=float((judged.unrelated_qualities >= judged.known_qualities + margin).mean()),
        baseline_name="the same attack on an update without the picture",
        unit="image",
        confidence=confidence,
        per_example=tuple((judged.qualities - judged.baselines).tolist()),
    )


def judge_quality(judged: JudgedPictures, *, confidence: float = 0.95) -> LeakJudgment:
    """Judge by the median over updates of the mean quality of all their pictures, PSNR in dB or SSIM.

    The baseline is the same median of the baselines. The interval is between order statistics, so that it
    needs no assumption on the distribution; with fewer than 6 updates none reaches a confidence of 95 %, and
    the interval is the whole range of the quality.
    """
    values = np.array([judged.qualities[rows].mean() for rows in _rows_by_update(judged)])
    baselines = np.array([judged.baselines[rows].mean() for rows in _rows_by_update(judged)])
    low, high = median_interval(values, confidence)
    least, most = (0.0, MAX_PSNR) if judged.quality == "psnr" else (-1.0, 1.0)
    return LeakJudgment(
        measure="PSNR in dB" if judged.quality == "psnr" else "SSIM",
        value=float(np.median(values)),
        low=max(low, least),
        high=min(high, most),
        baseline=float(np.median(baselines)),
        baseline_name="the best of means, public pictures, one color and another update",
        unit="update",
        confidence=confidence,
        per_example=tuple(judged.qualities.tolist()),
    )


def _rows_by_update(judged: JudgedPictures) -> list[NDArray[np.int64]]:
    """Return the rows of each update's pictures."""
    indices = judged.update_indices
    return [np.flatnonzero(indices == one) for one in np.unique(indices)]
