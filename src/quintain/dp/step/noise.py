"""The noise of a step: its standard deviation in the sum, and the noise of an adaptive bound's count."""

import math
from fractions import Fraction

from quintain.dp.randomness.discrete_gaussian import VARIANCE, discrete_gaussian
from quintain.dp.randomness.stream import RandomStream
from quintain.dp.step.adaptive import AdaptiveClipping
from quintain.dp.step.clipping import ClippingMethod


def noise_std_of_sum(clip: ClippingMethod, noise_multiplier: float) -> float:
    """The standard deviation of the noise in the sum of gradients, sigma times C."""
    sigma = (
        clip.gradient_noise_multiplier(noise_multiplier)
        if isinstance(clip, AdaptiveClipping)
        else noise_multiplier
    )
    return 0.0 if sigma == 0 else sigma * clip.sensitivity


def noisy_count(count: int, unclipped_count_std: float, stream: RandomStream, *, secure: bool) -> float:
    """A count that one record moves by 1, with noise of twice ``unclipped_count_std``.

    On the grid, noise and count are added as integers, and rounded once: else the low bits of their sum would
    reveal the count.
    """
    if not secure:
        return count + 2 * unclipped_count_std * float(stream.normal(1))
    steps = math.isqrt(int(VARIANCE / Fraction(2 * unclipped_count_std) ** 2))
    return (count * steps + int(discrete_gaussian(1, stream)[0])) / steps
