r"""How far canaries are memorized: their rank among patterns of the same law that were not trained on."""

import math

import numpy as np
from numpy.typing import NDArray

from quintain.core.errors import DataError, SettingError
from quintain.core.statistics import binomial_interval
from quintain.leakage.attack import LeakJudgment
from quintain.leakage.judges.bounded_mean import bounded_mean_interval
from quintain.leakage.judges.trade_off import MaxTPR

Scores = NDArray[np.float64]
Ranks = NDArray[np.int64]

MIN_CANARIES = 10
"""Canaries that are judged together at least: the exposure of one alone says nothing."""


def canary_ranks(canary: Scores, references: Scores, *, seed: int) -> Ranks:
    """Return the rank of each canary among itself and its references, from 1 (the largest score) to R + 1.

    Args:
        canary: Scores of the canaries (m,).
        references: Scores of unused patterns under each canary's label (m, R).
        seed: Ties are broken by it, as if the canary stood at a random place among its equals.

    Raises:
        SettingError: If the shapes do not fit.
        DataError: If a score is NaN.
    """
    if references.ndim != 2 or len(references) != len(canary) or not references.size:
        raise SettingError(
            f"references of shape {references.shape} for {len(canary)} canaries; expected some for each"
        )
    if np.isnan(canary).any() or np.isnan(references).any():
        raise DataError("a score is NaN; expected numbers, so that canaries have a rank")
    above = (references > canary[:, None]).sum(axis=1)
    ties = (references == canary[:, None]).sum(axis=1)
    return 1 + above + np.random.default_rng(seed).integers(0, ties + 1)


def exposures(ranks: Ranks, references: int) -> Scores:
    r"""Return the exposure of each canary in bits (m,), from 0 to :math:`\log_2(R + 1)`.

    .. math:: \text{exposure} = \log_2 (R + 1) - \log_2 \text{rank}

    With R unused patterns no exposure above :math:`\log_2(R + 1)` can be seen: that is the resolution.

    Source: Carlini, Liu, Erlingsson, Kos, Song, 2018, arXiv:1802.08232 (sampled by R of all patterns).
    """
    return math.log2(references + 1) - np.log2(ranks)


def mean_null_exposure(references: int) -> float:
    r"""Return the mean exposure in bits of canaries that were not trained on: near 1.44 for many references.

    Their rank is uniform on 1 to N = R + 1, so that it is :math:`\log_2 N - \log_2(N!) / N`, which tends to
    :math:`1 / \ln 2`.
    """
    count = references + 1
    return math.log2(count) - math.lgamma(count + 1) / (count * math.log(2))


def max_exposure(references: int, max_tpr: MaxTPR) -> float:
    r"""Return the largest mean exposure in bits that a privacy guarantee allows.

    Left out, a canary has a uniform rank; added, it is among the first k of N = R + 1 with a probability of
    at most :math:`T(k / N)`, by the trade-off function of the guarantee. The mean of
    :math:`\log_2 N - \log_2 \text{rank}` is the sum of these probabilities times
    :math:`\log_2 (k + 1) - \log_2 k` over k below N.

    Args:
        references: R.
        max_tpr: T, such as ``EpsilonDelta``, of adding or removing one example.
    """
    count = references + 1
    return sum(max_tpr(k / count) * math.log2((k + 1) / k) for k in range(1, count))


def judge_exposure(
    ranks: Ranks,
    references: int,
    *,
    max_tpr: MaxTPR | None = None,
    confidence: float = 0.95,
) -> LeakJudgment:
    """Judge by the mean exposure of all canaries, beside that of canaries which were not trained on.

    Args:
        ranks: Of the canaries (m,), from ``canary_ranks``.
        references: R.
        max_tpr: What a claimed guarantee allows, as ``max_exposure`` takes it; None where nothing is claimed.
        confidence: Of the interval, which holds for any law of exposures of independent canaries.

    Raises:
        SettingError: If there are fewer than ten canaries.
    """
    _require_enough(ranks)
    bits = exposures(ranks, references)
    most = math.log2(references + 1)
    low, high = bounded_mean_interval(bits.clip(0, most), 0.0, most, confidence=confidence)
    # How many canaries have how much; of those not trained on, a fraction of 2^-b has b bits or more.
    steps = np.arange(0, math.floor(most) + 1)
    return LeakJudgment(
        measure=f"mean exposure in bits (at most {most:.1f} can be seen)",
        value=float(bits.mean()),
        low=low,
        high=high,
        baseline=mean_null_exposure(references),
        baseline_name="canaries that were not trained on",
        unit="canary",
        ceiling=None if max_tpr is None else max_exposure(references, max_tpr),
        confidence=confidence,
        per_example=tuple(bits.tolist()),
        curve=tuple((float(step), float((bits >= step - 1e-9).mean())) for step in steps),
    )


def judge_found_canaries(
    ranks: Ranks,
    references: int,
    *,
    fpr: float = 0.01,
    max_tpr: MaxTPR | None = None,
    confidence: float = 0.95,
) -> LeakJudgment:
    """Judge by the fraction of canaries that score above all but a fraction ``fpr`` of unused patterns.

    The number of patterns that may come before is fixed beforehand, so that the interval is exact (Clopper
    and Pearson).

    Args:
        ranks, references, max_tpr, confidence: As ``judge_exposure`` takes them.
        fpr: The fraction, which the number of references must resolve.

    Raises:
        SettingError: If there are fewer than ten canaries, or too few references for ``fpr``.
    """
    _require_enough(ranks)
    first = math.floor(fpr * (references + 1))
    if first < 1:
        raise SettingError(
            f"{references} unused patterns; expected at least {math.ceil(1 / fpr) - 1} to tell a fraction of "
            f"{fpr:g}"
        )
    hits = int((ranks <= first).sum())
    low, high = binomial_interval(hits, len(ranks), confidence)
    chance = first / (references + 1)
    return LeakJudgment(
        measure=f"canaries before {1 - fpr:.0%} of unused patterns",
        value=hits / len(ranks),
        low=low,
        high=high,
        baseline=chance,
        baseline_name="canaries that were not trained on",
        unit="canary",
        ceiling=None if max_tpr is None else max_tpr(chance),
        confidence=confidence,
        per_example=tuple((ranks <= first).astype(float).tolist()),
    )


def _require_enough(ranks: Ranks) -> None:
    if len(ranks) < MIN_CANARIES:
        raise SettingError(
            f"{len(ranks)} canaries; expected at least {MIN_CANARIES}: the exposure of a few says nothing, "
            "since one in two canaries that were not trained on has at least one bit"
        )
