"""Exact binomial confidence limits, which claims rest on, and the distance of two pictures in decibels."""

import math

from quintain.core.errors import SettingError


def check_confidence(confidence: float) -> float:
    """Return ``confidence`` unchanged, if it lies strictly between 0 and 1.

    Raises:
        SettingError: Otherwise.
    """
    if not 0 < confidence < 1:
        raise SettingError(
            f"confidence = {confidence}; expected a number strictly between 0 and 1, such as 0.95"
        )
    return confidence


def binomial_lower(hits: int, trials: int, confidence: float) -> float:
    """Return the one-sided Clopper-Pearson lower limit of the probability of a hit.

    It exceeds the truth with probability at most ``1 - confidence``.

    Raises:
        SettingError: If the counts are impossible or ``confidence`` is not strictly between 0 and 1.

    Source: Clopper and Pearson, 1934.
    """
    from scipy.special import betaincinv

    _check(hits, trials, confidence)
    return 0.0 if hits == 0 else float(betaincinv(hits, trials - hits + 1, 1 - confidence))


def binomial_upper(hits: int, trials: int, confidence: float) -> float:
    """Return the one-sided Clopper-Pearson upper limit of the probability of a hit, as ``binomial_lower``."""
    from scipy.special import betainccinv

    _check(hits, trials, confidence)
    return 1.0 if hits == trials else float(betainccinv(hits + 1, trials - hits, 1 - confidence))


def binomial_interval(hits: int, trials: int, confidence: float) -> tuple[float, float]:
    """Return the two-sided Clopper-Pearson interval, with half of the error on each side."""
    one_sided = (1 + check_confidence(confidence)) / 2
    return binomial_lower(hits, trials, one_sided), binomial_upper(hits, trials, one_sided)


def binomial_tail(hits: int, trials: int, probability: float) -> float:
    """Return the probability of at least ``hits`` hits: P[Binomial(trials, probability) >= hits]."""
    if hits <= 0:
        return 1.0
    if hits > trials:
        return 0.0
    from scipy.special import betainc

    return float(betainc(hits, trials - hits + 1, probability))


def psnr(mean_squared_error: float) -> float:
    """Return the peak signal-to-noise ratio in dB of pictures in [0, 1]; infinite when there is no error."""
    return math.inf if mean_squared_error == 0 else -10 * math.log10(mean_squared_error)


def _check(hits: int, trials: int, confidence: float) -> None:
    """Raise SettingError for impossible counts or an impossible confidence."""
    check_confidence(confidence)
    if not 0 <= hits <= trials or trials == 0:
        raise SettingError(f"{hits} of {trials}: expected 0 <= hits <= trials and at least one trial")
