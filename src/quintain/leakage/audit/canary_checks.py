"""Check what an audit is given: a finite score of each canary, and coins that may have been fair."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quintain.core.errors import DataError
from quintain.core.statistics import binomial_interval
from quintain.leakage.audit.exact_numbers import lost_in_float64

COIN_TEST_LEVEL = 1e-9
"""Significance level of the test of fair coins: less likely numbers of included canaries are refused."""

MIN_SORTED = 40
"""From this many coins on, sorted ones are refused: fair coins give them with probability below 1e-10."""


def check_canaries(scores: ArrayLike, included: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the scores (m,) of m canaries, and whether each was included (m,).

    Raises:
        DataError: For scores that are NaN or infinite, or that float64 does not hold; coins that are no list
            of as many booleans; numbers of included canaries that fair coins do not give; or equal scores in
            a list sorted by inclusion.
    """
    values, coins = _validate_scores(scores), _validate_coins(included)
    if len(values) != len(coins):
        raise DataError(
            f"{len(values)} scores and {len(coins)} coins; expected one of each for every canary, in the "
            "same order"
        )
    _check_order(values, coins)
    return values, coins


def check_runs(scores: ArrayLike, included: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the scores (n,) of n runs, and whether the canary was in each (n,); their numbers may differ.

    Raises:
        DataError: For scores that are NaN or infinite, or that float64 does not hold; or arms that are no
            list of as many booleans with some of each.
    """
    values, arms = _validate_scores(scores), np.asarray(included)
    if arms.dtype != np.bool_ or arms.shape != values.shape:
        raise DataError(
            f"included of type {arms.dtype} and shape {arms.shape}; expected one boolean for each of "
            f"{len(values)} scores"
        )
    if arms.all() or not arms.any():
        raise DataError(
            f"{int(arms.sum())} runs with the canary and {int((~arms).sum())} without; expected some of each"
        )
    return values, arms


def _validate_scores(values: ArrayLike) -> NDArray[np.float64]:
    lost = lost_in_float64(values)
    if lost:
        raise DataError(
            f"scores are {lost}, which float64 does not hold; expected scores that it holds: take off what "
            "all have in common"
        )
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 1 or not len(scores):
        raise DataError(f"scores of shape {scores.shape}; expected a list of at least one score")
    if not np.isfinite(scores).all():
        wrong = int((~np.isfinite(scores)).sum())
        raise DataError(
            f"{wrong} NaN or infinite scores; give each canary a finite score, whether it was trained on or "
            "not"
        )
    return scores


def _validate_coins(values: ArrayLike) -> NDArray[np.bool_]:
    """Check that inclusion is boolean, and that both values occur as often as fair coins give them."""
    coins = np.asarray(values)
    if coins.dtype != np.bool_ or coins.ndim != 1:
        raise DataError(
            f"included of type {coins.dtype} and shape {coins.shape}; expected one boolean for each score"
        )
    _check_coins(int(coins.sum()), int((~coins).sum()))
    return coins


def _check_order(scores: NDArray[np.float64], coins: NDArray[np.bool_]) -> None:
    """Refuse lists sorted by inclusion, in which ties between equal scores would be broken by inclusion."""
    sorted_by_membership = np.count_nonzero(coins[1:] != coins[:-1]) == 1 and len(coins) >= MIN_SORTED
    if sorted_by_membership and len(np.unique(scores)) < len(scores):
        raise DataError(
            f"{len(coins)} canaries sorted by whether they were trained on, with equal scores among them; "
            "expected the order in which the canaries were made, whatever their coins: ties are broken by "
            "place"
        )


def _check_coins(included: int, excluded: int) -> None:
    if not included or not excluded:
        raise DataError(
            f"{included} canaries included and {excluded} excluded; expected some of each, by fair coins"
        )
    low, high = binomial_interval(included, included + excluded, 1 - COIN_TEST_LEVEL)
    if not low <= 0.5 <= high:
        raise DataError(
            f"{included} canaries included and {excluded} excluded; "
            "expected about as many of each, since the audit holds for fair coins alone: "
            "flip a fair coin for each canary, and give the scores of all of them"
        )
