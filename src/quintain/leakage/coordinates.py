r"""What a training run released on the canaries' own coordinates, against the law that its plan promises.

A coordinate that belongs to a canary holds nothing but the plan's noise and that canary's own push. In units of the push, C / b:

- of a canary that was left out, every step's release is :math:`\mathcal N(0, \sigma^2)`, whatever else the net learns;
- of one that was trained on, it is 1 with probability q, else 0, with the same noise;
- no two steps, and no two canaries, have anything to do with each other, at whatever distance.

So the very run that is audited tells whether its noise is all there, in each step, whether its clipping bounds what a record adds, whether
it samples as often as it says and whether any of its noise was used twice. This says nothing of an epsilon; it says that the mechanism is,
or is not, the one that the accountant was told of.
"""

import numpy as np
from numpy.typing import NDArray

from quintain.core.errors import SettingError
from quintain.core.laws import cosine_p, cosines_p, mixed_sum_p, normal_p, repeated_p, shape_p, spread_p, tails_p
from quintain.leakage.canaries import Canaried
from quintain.results.specification import Measurement

AT_ONCE = 1024
"""Steps that are compared with all others at a time."""
MOST = 1 << 21
"""Numbers among which noise is looked for that was used twice at another place: the first steps of a very long run."""

Numbers = NDArray[np.float64]


def coordinate_measurements(run: Canaried, *, rate: float, noise_multiplier: float, unit: float, clip: float) -> tuple[Measurement, ...]:
    """Measure noise, sampling and clipping on the canaries of one run.

    Args:
        run: The run.
        rate: q, with which each record enters each step.
        noise_multiplier: sigma, in units of the clip norm.
        unit: What a clipped canary adds to its coordinate: the clip norm over the public divisor.
        clip: The clip norm C. Where a canary's gradient was below it at some step, its push is not known and is not measured.

    Raises:
        SettingError: If there is no noise to measure.
    """
    if not 0 < rate <= 1 or not noise_multiplier > 0:
        raise SettingError(f"rate = {rate}, noise_multiplier = {noise_multiplier}; expected 0 < rate <= 1 and positive noise to measure")
    z = run.seen / (unit * noise_multiplier)
    found = (*noise_measurements(z[:, ~run.included]), *_elsewhere(z, ~run.included))
    return (*found, *_pushes(z[:, run.included] * noise_multiplier, rate, noise_multiplier)) if run.weakest >= clip else found


def noise_measurements(z: Numbers) -> tuple[Measurement, ...]:
    """Whether numbers (steps, coordinates) are independent and standard normal.

    Source of the law of a cosine: Muirhead, Aspects of Multivariate Statistical Theory, 1982, theorem 1.5.7.
    """
    from scipy.special import ndtr

    steps, count = z.shape
    p_spread, z_spread = spread_p(float(np.square(z).mean()), z.size)
    z_mean = float(z.sum()) / z.size**0.5
    p_shape, distance = shape_p(ndtr(z.ravel()))
    p_tails, bound, beyond, usual = tails_p(z)
    p_step, worst = min((spread_p(float(square), count)[0], float(square) ** 0.5) for square in np.square(z).mean(axis=1))
    sums = z.sum(axis=0) / steps**0.5
    p_sums, z_sums = spread_p(float(np.square(sums).mean()), count)
    left_out = f"canaries left out, {steps} steps of {count}"
    return (
        Measurement(
            "canary noise", 1.0, float(np.square(z).mean() ** 0.5), p_spread, f"noise of {left_out}, over that of the plan", z_spread
        ),
        Measurement("canary noise mean", 0.0, float(z.mean()), normal_p(z_mean), f"mean of the noise of {left_out}", z_mean),
        Measurement("canary noise shape", 0.0, distance, p_shape, f"distance from Gaussian of the noise of {left_out}"),
        Measurement("canary noise tails", usual, beyond, p_tails, f"numbers beyond {bound:g} deviations, noise of {left_out}"),
        Measurement(
            "canary noise of each step",
            1.0,
            worst,
            min(1.0, steps * p_step),
            f"noise of the step that differs most from the plan, over that of the plan; of {left_out}",
        ),
        Measurement(
            "canary noise over steps",
            1.0,
            float(np.square(sums).mean() ** 0.5),
            p_sums,
            f"spread of the sums over all steps of {left_out}, over that of steps with noise of their own",
            z_sums,
        ),
        *_unrelated("steps", z),
        *_unrelated("canaries", z.T),
        *_closest(z),
    )


def _pushes(x: Numbers, rate: float, deviation: float) -> tuple[Measurement, ...]:
    """Of canaries that were trained on: how much they add, and the law of each release."""
    from scipy.special import ndtr

    total, mean = float(x.sum()), float(x.mean())
    z = (mean - rate) * (x.size / (deviation**2 + rate * (1 - rate))) ** 0.5
    height = (1 - rate) * ndtr(x / deviation) + rate * ndtr((x - 1) / deviation)
    p_shape, distance = shape_p(height.ravel())
    trained = f"canaries trained on, {x.shape[0]} steps of {x.shape[1]}"
    return (
        Measurement(
            "canary push",
            rate,
            mean,
            mixed_sum_p(total, x.size, rate, deviation),
            f"mean of the releases on {trained}, in units of what a clipped record adds (so: the sampling rate)",
            z,
        ),
        Measurement("canary push shape", 0.0, distance, p_shape, f"distance of the releases on {trained} from the promised law"),
    )


def _unrelated(what: str, z: Numbers) -> tuple[Measurement, ...]:
    """The cosine between neighbors (rows 0 and 1, 2 and 3 ..., and 1 and 2, 3 and 4 ...), taken as one long vector each."""
    found = []
    for first, name in enumerate(("even", "odd")):
        pairs = (len(z) - first) // 2
        if pairs:
            one, other = z[first::2][:pairs], z[first + 1 :: 2][:pairs]
            p_value, cosine = cosine_p(one.ravel(), other.ravel())
            text = f"correlation of the noise of {what} and the next, for {name} {what}"
            found.append(Measurement(f"canary noise between {what}, {name}", 0.0, cosine, p_value, text, cosine * one.size**0.5))
    return tuple(found)


def _elsewhere(z: Numbers, counted: NDArray[np.bool_]) -> tuple[Measurement, ...]:
    """How much the noise of the canaries that are counted is like itself a fixed number of coordinates further on, in any step."""
    z = z[: max(1, MOST // z.shape[1])]
    p_value, distance, correlation = repeated_p(z.ravel(), np.tile(counted, len(z)))
    text = f"correlation of the noise of canaries left out with itself {distance} numbers further on, the least likely of all distances"
    return (Measurement("canary noise elsewhere", 0.0, correlation, p_value, text),)


def _closest(z: Numbers) -> tuple[Measurement, ...]:
    """Of all pairs of steps, the one whose noise is most alike."""
    steps, count = z.shape
    if steps < 2 or count < 2:
        return ()
    unit = z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    largest = 0.0
    for start in range(0, steps, AT_ONCE):
        block = np.abs(unit[start : start + AT_ONCE] @ unit.T)
        block[np.arange(len(block)), start + np.arange(len(block))] = 0.0
        largest = max(largest, float(block.max()))
    p_value = min(1.0, steps * (steps - 1) / 2 * cosines_p(largest, count))
    text = f"largest correlation of the noise of two steps, of {steps * (steps - 1) // 2} pairs"
    return (Measurement("canary noise of two steps", 0.0, largest, p_value, text),)
