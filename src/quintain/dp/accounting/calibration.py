"""The noise for a target epsilon."""

import math

from scipy.optimize import brentq

from quintain.core.errors import SettingError
from quintain.dp.accounting.losses import History
from quintain.dp.accounting.pld import check_delta, checked, composed_epsilon
from quintain.dp.accounting.prv import estimate

MOST_NOISE = 12.0
STRIDE = 0.25
TOLERANCE = 5e-4


MOST = 1000.0
"""The largest epsilon that noise is made for: it promises nothing, and above it losses leave the range in which the least is found."""


def noise_for(epsilon: float, delta: float, sample_rate: float, steps: int, *, spent: History = ()) -> float:
    """The smallest noise multiplier, up to half a percent, whose steps cost at most ``epsilon`` at ``delta``.

    Args:
        epsilon: The target, positive, up to ``MOST``; never exceeded.
        delta: In (0, 1).
        sample_rate: Probability that a record is in a step, in (0, 1].
        steps: How many, at least one.
        spent: Runs (noise multiplier, sample rate, steps) that the target must cover as well.

    Raises:
        SettingError: If an argument is out of its range, or no noise meets the target.
    """
    if not 0 < epsilon <= MOST:
        raise SettingError(
            f"got a target epsilon of {epsilon}; expected a positive number up to {MOST:g}, such as 3: more promises nothing"
        )
    spent = checked([*spent, (1.0, sample_rate, steps)]) and checked(spent)
    check_delta(delta)
    if steps < 1:
        raise SettingError(f"got {steps} steps to calibrate noise for; expected at least one")
    if spent and composed_epsilon(spent, delta) >= epsilon:
        raise SettingError(f"the steps already taken use up the target epsilon of {epsilon}; expected a larger one")

    def at(scale: float) -> History:
        return [*spent, (math.exp(scale), sample_rate, steps)]

    def excess(scale: float) -> float:
        """Log of about what exp(scale) costs, over the target; by the slower accountant where the quick one's grid is too coarse."""
        found = estimate(at(scale), delta)
        if not math.isfinite(found):
            found = composed_epsilon(at(scale), delta)
        return math.log(min(max(found, 1e-9), 1e9) / epsilon)

    def claimed(scale: float) -> float:
        return math.log(max(composed_epsilon(at(scale), delta), 1e-9) / epsilon)

    def refuse_beyond(scale: float) -> None:
        if scale >= MOST_NOISE:
            raise SettingError(
                f"no noise multiplier up to {math.exp(MOST_NOISE):.0f} reaches epsilon = {epsilon} in {steps} steps; expected a larger one"
            )

    guess = _central_limit(epsilon, delta, sample_rate, steps)
    short, enough = guess - STRIDE, guess + STRIDE
    while enough < MOST_NOISE and excess(enough) > 0:
        short, enough = enough, enough + STRIDE
    refuse_beyond(enough)
    while excess(short) < 0:
        short, enough = short - STRIDE, short
    scale = float(brentq(excess, short, enough, xtol=TOLERANCE / 2, rtol=1e-12)) + TOLERANCE
    over = claimed(scale)
    while over > 0:
        scale += max(over, TOLERANCE)
        refuse_beyond(scale)
        over = claimed(scale)
    return math.exp(scale)


def _central_limit(epsilon: float, delta: float, sample_rate: float, steps: int) -> float:
    """Log of roughly the noise multiplier sought: where to start (Bu et al., 2019, arXiv:1911.11607)."""
    tail = 2 * math.log(1 / delta)
    mu = math.sqrt(tail + 2 * epsilon) - math.sqrt(tail)
    return -0.5 * math.log(math.log1p((mu / sample_rate) ** 2 / steps))
