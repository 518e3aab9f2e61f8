"""Normal fits to what shadow models say of each candidate, with it and without it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

OWN_VARIANCE_FROM = 64
"""Under so many shadow models all candidates share one variance a side: their own would be noise."""

_SMALLEST_DEVIATION = 1e-9
"""Of confidences that are all alike, as those of a constant model are."""


@dataclass(frozen=True, slots=True)
class NormalFit:
    """A normal law of the confidence of each candidate (N,), from the shadows of one side."""

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    def standardized(self, values: NDArray[np.float64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return how many deviations above the mean the values (n,) of some candidates are."""
        return (values - self.mean[columns]) / self.deviation[columns]

    def log_density(self, values: NDArray[np.float64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the log density (n,) of the values of some candidates, up to a constant."""
        return -0.5 * self.standardized(values, columns) ** 2 - np.log(self.deviation[columns])


def fit_normal(confidences: NDArray[np.float64], chosen: NDArray[np.bool_]) -> NormalFit:
    r"""Fit a normal law to the chosen confidences of each candidate.

    Under ``OWN_VARIANCE_FROM`` models the variance is pooled over all candidates of the shadows, each about
    its own mean: :math:`s^2 = \sum_i \sum_k (\phi_{ki} - \mu_i)^2 / \sum_i (K_i - 1)`. It depends on the
    shadows alone, so that a split of the candidates changes no score.

    Args:
        confidences: Of each model (rows) for each candidate (columns), (S, N).
        chosen: Which of them count, (S, N); at least one a candidate.
    """
    counts = chosen.sum(0)
    mean = np.where(chosen, confidences, 0.0).sum(0) / counts
    squares = (np.where(chosen, confidences - mean, 0.0) ** 2).sum(0)
    freedom = counts - 1
    if len(confidences) < OWN_VARIANCE_FROM:
        variance = np.full_like(mean, squares.sum() / max(1, freedom.sum()))
    else:
        variance = squares / np.maximum(1, freedom)
    return NormalFit(mean, np.sqrt(np.maximum(variance, _SMALLEST_DEVIATION**2)))
