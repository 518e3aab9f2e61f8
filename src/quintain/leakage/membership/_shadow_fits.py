"""What shadow models say of each candidate, with it and without it: means, variances, and their shift."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quintain.core.errors import SettingError

Floats = NDArray[np.float64]

OWN_VARIANCE_FROM = 64
"""Under so many shadow models candidates of like confidence share a variance: their own would be noise."""

GROUP_SIZE = 200
"""About so many candidates of like confidence share variances, and the law of their shifts."""

_SMALLEST_VARIANCE = 1e-18
"""Of confidences that are all alike, as those of a constant model are."""


@dataclass(frozen=True, slots=True)
class ConfidenceLaw:
    """Confidences of each candidate (N,) over the models with it, or those without it: a normal law.

    Args:
        mean, variance: Of the law.
        count: How many models the mean is of.
    """

    mean: Floats
    variance: Floats
    count: Floats

    def standardized(self, values: Floats, columns: NDArray[np.int64]) -> Floats:
        """Return how many deviations above the mean the values (n,) of some candidates are."""
        return (values - self.mean[columns]) / np.sqrt(self.variance[columns])


@dataclass(frozen=True, slots=True)
class ShadowFit:
    r"""Normal laws of each candidate's confidence without it and with it, and a prior of the shift between.

    The shift of candidate i is :math:`d_i \sim N(D, \tau^2)`, over candidates of like confidence.

    Args:
        untrained, trained: The models without the candidate, and those with it.
        shift, spread: D and tau squared of each candidate, (N,).
    """

    untrained: ConfidenceLaw
    trained: ConfidenceLaw
    shift: Floats
    spread: Floats

    def log_ratio(self, values: Floats, columns: NDArray[np.int64]) -> Floats:
        r"""Return the log likelihood ratio (n,) of membership, given the confidences of a target.

        Of the target's confidence x and the two means, the differences :math:`b = x - m_{out}` and
        :math:`a = m_{in} - m_{out}` count, and a has the same law whether or not the candidate is a member:
        the ratio is that of the normal laws of b given a. With many models it is that of x under
        :math:`N(m_{in}, s_{in}^2)` and :math:`N(m_{out}, s_{out}^2)`; with few, what the means do not know
        widens both laws, and the shift is drawn toward that of candidates of like confidence.
        """
        out, in_ = self.untrained, self.trained
        shift, spread = self.shift[columns], self.spread[columns]
        v_out, v_in = out.variance[columns], in_.variance[columns]
        # Errors of the two means.
        e_out, e_in = v_out / out.count[columns], v_in / in_.count[columns]
        a, b = (in_.mean - out.mean)[columns] - shift, values - out.mean[columns]
        total = spread + e_in + e_out
        # Covariances of a and b: both hold the error of the mean without; of a member, both hold its shift.
        # A variance less its explained part, c - c^2 / total, is c (total - c) / total, without cancellation.
        no_member = _log_normal(b, e_out / total * a, v_out + e_out * (spread + e_in) / total)
        shared = spread + e_out
        member = _log_normal(b, shift + shared / total * a, v_in + shared * e_in / total)
        return member - no_member


def fit_shadows(confidences: Floats, included: NDArray[np.bool_]) -> ShadowFit:
    r"""Fit the laws of both sides to the confidences of shadow models.

    Under ``OWN_VARIANCE_FROM`` models variances are pooled over candidates of like confidence, each about its
    own mean: :math:`s^2 = \sum_i \sum_k (\phi_{ki} - m_i)^2 / \sum_i (K_i - 1)`. Groups are by the mean of
    both sides, whose error tells nothing of the shift. D and tau squared are the mean of the differences in a
    group, and their variance less that of their errors (empirical Bayes; Efron and Morris, 1973). All follows
    from the shadows alone, so that a split of the candidates changes no score.

    Args:
        confidences: Of each model (rows) for each candidate (columns), (S, N).
        included: Which models were trained on it, (S, N).

    Raises:
        SettingError: If a candidate has fewer than two models with it, or without it.
    """
    with_it = included.sum(0)
    fewest = int(min(with_it.min(), (len(included) - with_it).min()))
    if fewest < 2:
        raise SettingError(
            f"{fewest} shadow models with a candidate, or without it; expected at least two of each, such as "
            "four shadow models"
        )
    trained, untrained = _side(confidences, included), _side(confidences, ~included)
    middle = (trained.mean + untrained.mean) / 2
    order = np.argsort(middle, kind="stable")
    groups = np.array_split(order, max(1, len(order) // GROUP_SIZE))
    shift, spread = np.empty_like(middle), np.empty_like(middle)
    for rows in groups:
        if len(confidences) < OWN_VARIANCE_FROM:
            for side in (trained, untrained):
                freedom = side.count[rows] - 1
                side.variance[rows] = (side.variance[rows] * freedom).sum() / max(1.0, freedom.sum())
        for side in (trained, untrained):
            side.variance[rows] = np.maximum(side.variance[rows], _SMALLEST_VARIANCE)
        differences = (trained.mean - untrained.mean)[rows]
        errors = sum((side.variance / side.count)[rows] for side in (trained, untrained))
        shift[rows] = differences.mean()
        spread[rows] = max(0.0, float(np.mean((differences - differences.mean()) ** 2 - errors)))
    return ShadowFit(untrained, trained, shift, spread)


def _side(confidences: Floats, chosen: NDArray[np.bool_]) -> ConfidenceLaw:
    """Return mean, own variance and count of the chosen confidences of each candidate."""
    counts = chosen.sum(0).astype(np.float64)
    mean = np.where(chosen, confidences, 0.0).sum(0) / counts
    squares = (np.where(chosen, confidences - mean, 0.0) ** 2).sum(0)
    return ConfidenceLaw(mean, squares / np.maximum(1.0, counts - 1), counts)


def _log_normal(values: Floats, mean: Floats, variance: Floats) -> Floats:
    """Return the log density of normal laws, up to a constant."""
    return -0.5 * ((values - mean) ** 2 / variance + np.log(variance))
