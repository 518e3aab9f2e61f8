"""How well membership was guessed: the ROC curve at low false-positive rates, with exact intervals.

All intervals are over examples, with the target as it is, and hold if members and others are independent
draws from two populations of scores.
"""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quintain.core.seeds import derive_seed
from quintain.core.statistics import binomial_lower, binomial_upper, check_confidence
from quintain.leakage.attack import LeakJudgment
from quintain.leakage.judges.ranked_scores import (
    RankedScores,
    allowed_false_alarms,
    area_under_curve,
    curve_points,
    exposure_of,
    rank_scores,
)
from quintain.leakage.judges.trade_off import MaxTPR, max_advantage, max_auc

FALSE_POSITIVE_RATES = (0.001, 0.01)
"""At which the true-positive rate is reported."""

AUC, ADVANTAGE = "AUC", "membership advantage"
"""Names of measures beside the true-positive rates."""

GUESSING = "guessing"
"""The baseline that needs no model: whoever guesses by chance has a TPR equal to the FPR."""


def judge_membership(
    scores: ArrayLike,
    is_member: ArrayLike,
    *,
    ids: ArrayLike | None = None,
    max_tpr: MaxTPR | None = None,
    unit: str = "image",
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[LeakJudgment, ...]:
    r"""Judge the scores of an attack: TPR at fixed FPRs, membership advantage, and the area under the curve.

    - *TPR at FPR f*: the value is that above the :math:`(k + 1)`-th largest score of the n that are no
      members, :math:`k = \lfloor f n \rfloor`. The FPR there has a Beta(k + 1, n - k) law (``fpr_interval``):
      the interval speaks of FPR f itself, by the thresholds whose FPR is surely below and surely above it,
      with Clopper and Pearson's limits of the hits among members. Few others leave it wide.
    - *Membership advantage*: the largest TPR - FPR over all thresholds. Its interval holds for all thresholds
      at once (Dvoretzky, Kiefer, Wolfowitz, with Massart's constant); the value is that at thresholds which
      each half of the candidates chooses for the other half, so that the choice is paid for.
    - *AUC*: the fraction of pairs that are in the right order, half of those that are equal. Its interval is
      Hoeffding's for U-statistics, with the relative entropy: no normal approximation.

    Args:
        scores: One a candidate (n,); larger means more likely a member.
        is_member: The truth (n,), bool.
        ids: Numbers of the candidates, from which the order of equal scores follows.
        max_tpr: Largest TPR that a guarantee allows at an FPR, such as ``EpsilonDelta(3, 1e-5)`` or the
            accountant's own trade-off function; nothing is claimed if not given.
        unit: What one candidate is.
        confidence: Of each interval.
        seed: Orders ties, and halves the candidates.

    Raises:
        DataError: For scores that are NaN, and where members or others are missing.

    Source: Carlini et al., 2022, arXiv:2112.03570 (low false-positive rates); Yeom et al., 2018,
    arXiv:1709.01604 (advantage); Massart, 1990; Hoeffding, 1963, section 5.
    """
    check_confidence(confidence)
    ranked = rank_scores(scores, is_member, ids=ids, seed=seed)
    curve, exposure = tuple(curve_points(ranked)), tuple(exposure_of(ranked))
    rates = [_judge_rate(ranked, rate, max_tpr, unit, confidence) for rate in FALSE_POSITIVE_RATES]
    judged = (*rates, _judge_advantage(ranked, max_tpr, unit, confidence, seed))
    area = _judge_auc(ranked, max_tpr, unit, confidence)
    return tuple(replace(one, curve=curve, per_example=exposure) for one in (*judged, area))


def name_of_rate(rate: float) -> str:
    """Return what the true-positive rate at a false-positive rate is called, such as ``TPR at 1 % FPR``."""
    return f"TPR at {100 * rate:g} % FPR"


def fpr_interval(rate: float, num_others: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the two-sided interval of the realized FPR where a threshold leaves ``rate`` of the others.

    Above the (k + 1)-th largest of n independent scores lies a fraction of their population that has a
    Beta(k + 1, n - k) law; equal scores are ordered by noise.
    """
    from scipy.special import betaincinv

    k = allowed_false_alarms(rate, num_others)
    if k >= num_others:
        return 1.0, 1.0
    tail = (1 - check_confidence(confidence)) / 2
    return float(betaincinv(k + 1, num_others - k, tail)), float(betaincinv(k + 1, num_others - k, 1 - tail))


def coarse_rates(num_others: int, confidence: float = 0.95) -> tuple[str, ...]:
    """Return a sentence if so many others are too few for some of the reported rates."""
    coarse = [rate for rate in FALSE_POSITIVE_RATES if num_others < fewest_others(rate, confidence)]
    if not coarse:
        return ()
    needed = " and ".join(
        f"{name_of_rate(rate)} (which takes {fewest_others(rate, confidence):,})" for rate in coarse
    )
    highest = max(fpr_interval(rate, num_others, confidence)[1] for rate in coarse)
    return (
        f"{num_others:,} candidates that are no members are too few to show a leak by {needed}; the FPR of "
        f"what stands there may be up to {100 * highest:.2g} % ({100 * confidence:g} % interval)",
    )


def fewest_others(rate: float, confidence: float = 0.95) -> int:
    """Return how many others a positive lower limit of the TPR at an FPR takes, at least."""
    return math.ceil(math.log((1 - check_confidence(confidence)) / 4) / math.log1p(-rate))


def _judge_rate(
    ranked: RankedScores, rate: float, max_tpr: MaxTPR | None, unit: str, confidence: float
) -> LeakJudgment:
    low, high = _rate_interval(ranked, rate, confidence)
    return LeakJudgment(
        measure=name_of_rate(rate),
        value=ranked.hits_before(allowed_false_alarms(rate, ranked.num_others)) / ranked.num_members,
        low=low,
        high=high,
        baseline=rate,
        baseline_name=GUESSING,
        unit=unit,
        ceiling=None if max_tpr is None else max_tpr(rate),
        confidence=confidence,
    )


def _rate_interval(ranked: RankedScores, rate: float, confidence: float) -> tuple[float, float]:
    """Return the interval of the true-positive rate at exactly this false-positive rate.

    Of the error a quarter goes to each of four events: that the lower threshold has a larger FPR, that the
    upper one has a smaller one, and that a limit of Clopper and Pearson fails.
    """
    from scipy.special import betainc

    tail = (1 - confidence) / 4
    k = np.arange(ranked.num_others)
    # The FPR above the (k + 1)-th largest other score is Beta(k + 1, n - k): is it below the rate?
    is_below = betainc(k + 1, ranked.num_others - k, rate)
    surely_below, surely_above = np.flatnonzero(is_below >= 1 - tail), np.flatnonzero(is_below <= tail)
    low, high = 0.0, 1.0
    if len(surely_below):
        low = binomial_lower(ranked.hits_before(int(surely_below[-1])), ranked.num_members, 1 - tail)
    if len(surely_above):
        high = binomial_upper(ranked.hits_before(int(surely_above[0])), ranked.num_members, 1 - tail)
    return low, high


def _judge_advantage(
    ranked: RankedScores, max_tpr: MaxTPR | None, unit: str, confidence: float, seed: int
) -> LeakJudgment:
    # Sup over thresholds of TPR - FPR, with a band around each arm's empirical distribution function.
    error = (1 - confidence) / 2
    band = sum(
        math.sqrt(math.log(2 / error) / (2 * size)) for size in (ranked.num_members, ranked.num_others)
    )
    largest = float(_differences(ranked.is_member, ties=ranked.scores).max())
    # Each half chooses the number that it takes for members, and the other half is judged at that threshold.
    half = np.random.default_rng(derive_seed(seed, "membership", "halves")).permutation(len(ranked.order)) % 2
    by_candidate = half[ranked.order] == 0
    values = [_at_chosen_threshold(ranked, chooses) for chooses in (by_candidate, ~by_candidate)]
    low, high = max(0.0, largest - band), min(1.0, largest + band)
    return LeakJudgment(
        measure=ADVANTAGE,
        value=float(np.clip(np.mean(values), low, high)),
        low=low,
        high=high,
        baseline=0.0,
        baseline_name=GUESSING,
        unit=unit,
        ceiling=None if max_tpr is None else max_advantage(max_tpr),
        confidence=confidence,
    )


def _at_chosen_threshold(ranked: RankedScores, chooses: NDArray[np.bool_]) -> float:
    """Return TPR - FPR of the judged half at the threshold where it is largest on the half that chooses."""
    truth, judged = ranked.is_member, ~chooses
    if len(np.unique(truth[chooses])) < 2 or len(np.unique(truth[judged])) < 2:
        return 0.0
    best = int(_differences(truth[chooses], ties=ranked.scores[chooses]).argmax())
    if best == 0:
        return 0.0
    taken = ranked.scores[judged] >= ranked.scores[chooses][best - 1]
    return float(taken[truth[judged]].mean() - taken[~truth[judged]].mean())


def _differences(truth: NDArray[np.bool_], *, ties: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return TPR - FPR (n + 1,) if the first 0, 1, ... n are taken; no cut lies between equal scores."""
    rates = np.cumsum(truth) / truth.sum() - np.cumsum(~truth) / (~truth).sum()
    between_equals = np.append(ties[1:] == ties[:-1], False)
    return np.concatenate([[0.0], np.where(between_equals, -np.inf, rates)])


def _judge_auc(ranked: RankedScores, max_tpr: MaxTPR | None, unit: str, confidence: float) -> LeakJudgment:
    value = area_under_curve(ranked)
    low, high = _relative_entropy_interval(value, min(ranked.num_members, ranked.num_others), confidence)
    return LeakJudgment(
        measure=AUC,
        value=value,
        low=low,
        high=high,
        baseline=0.5,
        baseline_name=GUESSING,
        unit=unit,
        ceiling=None if max_tpr is None else max_auc(max_tpr),
        confidence=confidence,
    )


def _relative_entropy_interval(value: float, pairs: int, confidence: float) -> tuple[float, float]:
    r"""Return the means m in [0, 1] that a mean over pairs of values in [0, 1] does not refute.

    It is :math:`\{m : n\, KL(value \| m) \le \ln(2 / (1 - c))\}`; n is the size of the smaller sample, since
    a U-statistic is a mean over matchings, each a mean of n independent terms.
    """
    limit = math.log(2 / (1 - confidence)) / pairs

    def entropy(mean: float) -> float:
        total = 0.0
        for fraction, base in ((value, mean), (1 - value, 1 - mean)):
            if fraction > 0:
                total += math.inf if base <= 0 else fraction * math.log(fraction / base)
        return total

    def edge(inside: float, outside: float) -> float:
        if entropy(outside) <= limit:
            return outside
        for _ in range(60):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if entropy(middle) <= limit else (inside, middle)
        return outside

    return edge(value, 0.0), edge(value, 1.0)
