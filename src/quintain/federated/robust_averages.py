"""Robust averages of the groups' averages: the median and the trimmed mean of each coordinate."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Rule = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""What makes one vector (length,) of the groups' averages (groups, length)."""


def median(averages: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the median of each coordinate: it follows no coordinate of fewer than half of the groups.

    Source: Yin, Chen, Ramchandran, Bartlett, 2018, arXiv:1803.01498.
    """
    middle: NDArray[np.float64] = np.median(averages, axis=0)
    return middle


def trimmed_mean(averages: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of each coordinate without its largest and smallest quarter, at least one group each.

    So many bad groups it stands: a quarter, at least one. Source: Yin et al., 2018, arXiv:1803.01498.
    """
    cut = max(1, len(averages) // 4)
    kept: NDArray[np.float64] = np.sort(averages, axis=0)[cut : len(averages) - cut].mean(axis=0)
    return kept


RULES: Mapping[str, Rule] = {"median": median, "trimmed-mean": trimmed_mean}
