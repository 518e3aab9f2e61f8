"""Calibration: the least noise for a target epsilon."""

import math

from scipy.optimize import brentq

from quintain.core.errors import SettingError
from quintain.dp.accounting.pld import check_delta, composed_epsilon, validated_history
from quintain.dp.accounting.privacy_loss import History
from quintain.dp.accounting.prv import estimate_epsilon

LOG_MAX_NOISE_MULTIPLIER = 12.0
LOG_STRIDE = 0.25
LOG_TOLERANCE = 5e-4
"""Bounds, stride and tolerance of the search, in log noise multipliers."""

MAX_EPSILON = 1000.0
"""The largest target: it promises nothing, and above it losses leave the range in which noise is found."""


def calibrate_noise_multiplier(
    epsilon: float, delta: float, sample_rate: float, steps: int, *, history: History = ()
) -> float:
    """The least noise multiplier, up to half a percent, whose steps cost at most ``epsilon`` at ``delta``.

    Args:
        epsilon: The target, positive, up to ``MAX_EPSILON``; never exceeded.
        delta: In (0, 1).
        sample_rate: Probability that a record is in a step, in (0, 1].
        steps: How many, at least one.
        history: Entries (noise multiplier, sample rate, steps) that the target must cover as well.

    Raises:
        SettingError: If an argument is out of its range, or no noise meets the target.
    """
    if not 0 < epsilon <= MAX_EPSILON:
        raise SettingError(
            f"got a target epsilon of {epsilon}; expected a positive number up to {MAX_EPSILON:g}, such as "
            "3: more promises nothing"
        )
    history = validated_history(history)
    validated_history([(1.0, sample_rate, steps)])  # checks the sample rate and the number of steps
    check_delta(delta)
    if steps < 1:
        raise SettingError(f"got {steps} steps to calibrate noise for; expected at least one")
    if history and composed_epsilon(history, delta) >= epsilon:
        raise SettingError(
            f"the steps already taken use up the target epsilon of {epsilon}; expected a larger one"
        )

    def with_noise(log_sigma: float) -> History:
        return [*history, (math.exp(log_sigma), sample_rate, steps)]

    def estimated_log_excess(log_sigma: float) -> float:
        """Estimate log(epsilon / target); by the slower accountant if the quick one gives no estimate."""
        estimated = estimate_epsilon(with_noise(log_sigma), delta)
        if not math.isfinite(estimated):
            estimated = composed_epsilon(with_noise(log_sigma), delta)
        return math.log(min(max(estimated, 1e-9), 1e9) / epsilon)

    def proved_log_excess(log_sigma: float) -> float:
        return math.log(max(composed_epsilon(with_noise(log_sigma), delta), 1e-9) / epsilon)

    def refuse_beyond(log_sigma: float) -> None:
        if log_sigma >= LOG_MAX_NOISE_MULTIPLIER:
            raise SettingError(
                f"no noise multiplier up to {math.exp(LOG_MAX_NOISE_MULTIPLIER):.0f} reaches epsilon = "
                f"{epsilon} in {steps} steps; expected a larger one"
            )

    # 1. bracket log sigma around the guess of the central limit theorem
    log_sigma_guess = _log_sigma_by_clt(epsilon, delta, sample_rate, steps)
    log_low, log_high = log_sigma_guess - LOG_STRIDE, log_sigma_guess + LOG_STRIDE
    while log_high < LOG_MAX_NOISE_MULTIPLIER and estimated_log_excess(log_high) > 0:
        log_low, log_high = log_high, log_high + LOG_STRIDE
    refuse_beyond(log_high)
    while estimated_log_excess(log_low) < 0:
        log_low, log_high = log_low - LOG_STRIDE, log_low
    # 2. the root of the quick estimate
    log_sigma = (
        float(brentq(estimated_log_excess, log_low, log_high, xtol=LOG_TOLERANCE / 2, rtol=1e-12))
        + LOG_TOLERANCE
    )
    # 3. raise the noise until the proved epsilon keeps the target
    log_excess = proved_log_excess(log_sigma)
    while log_excess > 0:
        log_sigma += max(log_excess, LOG_TOLERANCE)
        refuse_beyond(log_sigma)
        log_excess = proved_log_excess(log_sigma)
    return math.exp(log_sigma)


def _log_sigma_by_clt(epsilon: float, delta: float, sample_rate: float, steps: int) -> float:
    """Return the log of a noise multiplier near the one sought, by the central limit theorem.

    Source: Bu et al., 2019, arXiv:1911.11607.
    """
    # epsilon = mu^2 / 2 + mu sqrt(2 log(1 / delta)) solved for mu, then mu^2 = q^2 T (exp(1 / sigma^2) - 1)
    tail = 2 * math.log(1 / delta)
    mu = math.sqrt(tail + 2 * epsilon) - math.sqrt(tail)
    return -0.5 * math.log(math.log1p((mu / sample_rate) ** 2 / steps))
