"""The noise of a step: how large it is, what it is added to and recorded as, and that of the count which moves an adaptive bound."""

import math
from collections.abc import Sequence
from fractions import Fraction

from torch import nn

from quintain.dp.accounting.ledger import Ledger
from quintain.dp.accounting.release import Release
from quintain.dp.draws.sampling import SamplingLoader
from quintain.dp.step.adaptive import Adaptive
from quintain.dp.step.clipping import Clip
from quintain.dp.step.discrete import VARIANCE, DiscreteSums, discrete_gaussian
from quintain.dp.step.noise import Stream
from quintain.dp.step.unsampled import Unsampled


def scale_of(clip: Clip, noise_multiplier: float) -> float:
    """Standard deviation of the noise in the sum of gradients, sigma times C."""
    sigma = clip.gradient_noise(noise_multiplier) if isinstance(clip, Adaptive) else noise_multiplier
    return 0.0 if sigma == 0 else sigma * clip.sensitivity


def whole_sums(parameters: Sequence[nn.Parameter], clip: Clip, noise_multiplier: float) -> DiscreteSums:
    """Sums on the grid that fits this noise."""
    bound = clip.sensitivity
    return DiscreteSums(parameters, noise_multiplier=scale_of(clip, noise_multiplier) / bound, sensitivity=bound)


def noisy_votes(votes: int, count_std: float, stream: Stream, *, secure: bool) -> float:
    """A count that one record moves by 1, with noise of twice ``count_std``.

    On the grid, noise and count are added as whole numbers, and rounded but once: else the low bits of their sum would tell the count.
    """
    if not secure:
        return votes + 2 * count_std * float(stream.normal(1))
    steps = math.isqrt(int(VARIANCE / Fraction(2 * count_std) ** 2))
    return (votes * steps + int(discrete_gaussian(1, stream)[0])) / steps


def release_of(loader: SamplingLoader | Unsampled, ledger: Ledger, noise_multiplier: float, *, choice: int, secure: bool) -> Release:
    """What a step on the loader's batch gives out, as the next one of a ledger."""
    place = loader.place(loader.draws)
    return Release(
        noise_multiplier,
        loader.expected_batch_size,
        loader.records,
        sampling=loader.sampling,
        mechanism="discrete gaussian" if secure else "gaussian",
        unit="record" if loader.units is None else loader.units.name,
        epoch=ledger.epoch_at(place),
        steps_per_epoch=loader.steps_per_epoch if place else 0,
        reproducible=loader.reproducible,
        choice=choice,
    )
