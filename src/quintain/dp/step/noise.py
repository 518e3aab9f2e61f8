"""The noise of a step: its standard deviation, the sum it is added to, and its ledger entry."""

import math
from collections.abc import Sequence
from fractions import Fraction

from torch import nn

from quintain.dp.accounting.ledger import Ledger
from quintain.dp.accounting.release import Release
from quintain.dp.randomness.discrete_gaussian import VARIANCE, discrete_gaussian
from quintain.dp.randomness.stream import RandomStream
from quintain.dp.sampling.loader import SamplingLoader
from quintain.dp.step.adaptive import AdaptiveClipping
from quintain.dp.step.clipping import ClippingMethod
from quintain.dp.step.discrete_sum import DiscreteClippedSum
from quintain.dp.step.unknown_sampling import UnknownSampling


def noise_std_of_sum(clip: ClippingMethod, noise_multiplier: float) -> float:
    """The standard deviation of the noise in the sum of gradients, sigma times C."""
    sigma = (
        clip.gradient_noise_multiplier(noise_multiplier)
        if isinstance(clip, AdaptiveClipping)
        else noise_multiplier
    )
    return 0.0 if sigma == 0 else sigma * clip.sensitivity


def discrete_sum_for(
    parameters: Sequence[nn.Parameter], clip: ClippingMethod, noise_multiplier: float
) -> DiscreteClippedSum:
    """The clipped sum on the grid that fits this noise."""
    bound = clip.sensitivity
    return DiscreteClippedSum(
        parameters, noise_multiplier=noise_std_of_sum(clip, noise_multiplier) / bound, sensitivity=bound
    )


def noisy_count(count: int, unclipped_count_std: float, stream: RandomStream, *, secure: bool) -> float:
    """A count that one record moves by 1, with noise of twice ``unclipped_count_std``.

    On the grid, noise and count are added as integers, and rounded once: else the low bits of their sum would
    reveal the count.
    sum would tell the count.
    """
    if not secure:
        return count + 2 * unclipped_count_std * float(stream.normal(1))
    steps = math.isqrt(int(VARIANCE / Fraction(2 * unclipped_count_std) ** 2))
    return (count * steps + int(discrete_gaussian(1, stream)[0])) / steps


def release_for_step(
    loader: SamplingLoader | UnknownSampling,
    ledger: Ledger,
    noise_multiplier: float,
    *,
    choice: int,
    secure: bool,
) -> Release:
    """The release of a step on the loader's current batch, for the ledger."""
    place = loader.epoch_position(loader.batches_drawn)
    return Release(
        noise_multiplier,
        loader.expected_batch_size,
        loader.num_units,
        sampling=loader.sampling,
        mechanism="discrete gaussian" if secure else "gaussian",
        unit="record" if loader.units is None else loader.units.name,
        epoch=ledger.epoch_at(place),
        steps_per_epoch=loader.steps_per_epoch if place else 0,
        reproducible=loader.reproducible,
        choice=choice,
    )
