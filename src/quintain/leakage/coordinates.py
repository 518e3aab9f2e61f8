r"""Tests of the releases on the canaries' coordinates against the distribution that the plan promises.

A coordinate that belongs to a canary holds nothing but the plan's noise and that canary's own push. In units
of the push, C / b:

- of a canary that was left out, every step's release is :math:`\mathcal N(0, \sigma^2)`, whatever else the
  net learns;
- of one that was trained on, it is 1 with probability q, else 0, with the same noise;
- steps are independent of each other, and so are canaries, at any lag and also in magnitude; none is a linear
  combination of others;
- sums and sums of squares, of each step and of each canary, vary as they should: not too much and not too
  little.

So the audited run itself shows whether each step has all of its noise, whether clipping bounds what a record
adds, whether the sampling rate is the stated one and whether any noise was used twice. This gives no bound on
epsilon; it shows whether the mechanism is the one that the accountant assumes.
"""

import numpy as np
from numpy.typing import NDArray

from quintain.core.errors import SettingError
from quintain.core.p_values import (
    autocorrelation_test,
    chi_square_test,
    chi_square_to_normal,
    cosine_p_value,
    cosine_test,
    kolmogorov_test,
    magnitudes_to_normal,
    mean_deviations_to_half_normal,
    noisy_binomial_p_value,
    normal_p_value,
    omnibus_test,
    residuals_to_normal,
    tail_test,
)
from quintain.leakage.canaries import CanaryRun
from quintain.results.specification import Measurement

STEPS_AT_ONCE = 1024
"""Steps that are compared with all others at a time."""
MAX_NUMBERS = 1 << 21
"""Most numbers that are searched for noise that was used twice: the first steps of a very long run."""

WITHOUT_SIGNS = " without signs"

Numbers = NDArray[np.float64]


def coordinate_measurements(
    run: CanaryRun, *, sample_rate: float, noise_multiplier: float, canary_size: float, max_grad_norm: float
) -> tuple[Measurement, ...]:
    """Measure noise, sampling and clipping on the canaries of one run.

    Args:
        run: The run.
        sample_rate: q, the probability with which each record enters each step.
        noise_multiplier: sigma, in units of the clip norm.
        canary_size: What a clipped canary adds to its coordinate: the clip norm over the public divisor.
        max_grad_norm: The clip norm C. If a canary's gradient was below it at some step, what the canaries
            add is not known and is not measured.

    Raises:
        SettingError: If there is no noise to measure.
    """
    if not 0 < sample_rate <= 1 or not noise_multiplier > 0:
        raise SettingError(
            f"sample_rate = {sample_rate}, noise_multiplier = {noise_multiplier}; "
            "expected 0 < sample_rate <= 1 and positive noise to measure"
        )
    z, out = run.observations / (canary_size * noise_multiplier), ~run.included
    found = (
        *noise_measurements(z[:, out]),
        *_autocorrelation(z, out),
        *_autocorrelation(magnitudes_to_normal(z), out, WITHOUT_SIGNS),
    )
    return (
        (*found, *_pushes(z[:, run.included] * noise_multiplier, sample_rate, noise_multiplier))
        if run.min_gradient_norm >= max_grad_norm
        else found
    )


def noise_measurements(z: Numbers) -> tuple[Measurement, ...]:
    """Test whether numbers (steps, coordinates) are independent and standard normal.

    Source of the law of a cosine: Muirhead, Aspects of Multivariate Statistical Theory, 1982, theorem 1.5.7.
    """
    from scipy.special import ndtr

    steps, count = z.shape
    p_spread, z_spread = chi_square_test(float(np.square(z).mean()), z.size)
    z_mean = float(z.sum()) / z.size**0.5
    p_shape, distance = kolmogorov_test(ndtr(z.ravel()))
    p_tails, bound, beyond, usual = tail_test(z)
    p_step, worst = min(
        (chi_square_test(float(square), count)[0], float(square) ** 0.5)
        for square in np.square(z).mean(axis=1)
    )
    sums = z.sum(axis=0) / steps**0.5
    p_sums, z_sums = chi_square_test(float(np.square(sums).mean()), count)
    left_out = f"canaries left out, {steps} steps of {count}"
    return (
        Measurement(
            name="canary noise",
            expected=1.0,
            measured=float(np.square(z).mean() ** 0.5),
            p_value=p_spread,
            description=f"noise of {left_out}, over that of the plan",
            z=z_spread,
        ),
        Measurement(
            name="canary noise mean",
            expected=0.0,
            measured=float(z.mean()),
            p_value=normal_p_value(z_mean),
            description=f"mean of the noise of {left_out}",
            z=z_mean,
        ),
        Measurement(
            "canary noise shape", 0.0, distance, p_shape, f"distance from Gaussian of the noise of {left_out}"
        ),
        Measurement(
            "canary noise tails",
            usual,
            beyond,
            p_tails,
            f"numbers beyond {bound:g} deviations, noise of {left_out}",
        ),
        Measurement(
            "canary noise of each step",
            1.0,
            worst,
            min(1.0, steps * p_step),
            f"noise of the step that differs most from the plan, over that of the plan; of {left_out}",
        ),
        Measurement(
            name="canary noise over steps",
            expected=1.0,
            measured=float(np.square(sums).mean() ** 0.5),
            p_value=p_sums,
            description=f"spread of the sums over all steps of {left_out}, over that of steps with noise of "
            "their own",
            z=z_sums,
        ),
        *_variation(z, left_out),
        *_correlations(z),
        *_correlations(magnitudes_to_normal(z), WITHOUT_SIGNS),
    )


def _correlations(z: Numbers, of: str = "") -> tuple[Measurement, ...]:
    """Test steps and canaries against their neighbors, and all pairs of steps."""
    between = (*_neighbor_correlations("steps", z, of), *_neighbor_correlations("canaries", z.T, of))
    return (*between, *_most_similar_steps(z, of))


def _variation(z: Numbers, left_out: str) -> tuple[Measurement, ...]:
    """Test whether sums and squares of each step and canary vary as they should, neither more nor less.

    It also tests the residual of each on the earlier ones, so that none is a combination of others.
    """
    by = (z, z.T)
    squares = [(np.square(x).sum(axis=1), np.full(len(x), float(x.shape[1]))) for x in by]
    found = {
        ("sums", "sums"): omnibus_test([x.sum(axis=1) / x.shape[1] ** 0.5 for x in by]),
        ("squares", "sums of squares"): omnibus_test(
            [chi_square_to_normal(*one) for one in squares],
            [mean_deviations_to_half_normal(*one) for one in squares],
        ),
        ("residuals", "what no combination of earlier ones has"): omnibus_test(
            [residuals_to_normal(z[: max(1, MAX_NUMBERS // z.shape[1])])]
        ),
    }
    text = "in the noise of each step or canary, over what it should be; of"
    return tuple(
        Measurement(f"canary noise {name}", 1.0, spread, p_value, f"spread of {what} {text} {left_out}")
        for (name, what), (p_value, spread) in found.items()
    )


def _pushes(x: Numbers, sample_rate: float, deviation: float) -> tuple[Measurement, ...]:
    """Test, on included canaries, how much they add and the distribution of each release."""
    from scipy.special import ndtr

    total, mean = float(x.sum()), float(x.mean())
    z = (mean - sample_rate) * (x.size / (deviation**2 + sample_rate * (1 - sample_rate))) ** 0.5
    quantiles = (1 - sample_rate) * ndtr(x / deviation) + sample_rate * ndtr((x - 1) / deviation)
    p_shape, distance = kolmogorov_test(quantiles.ravel())
    trained = f"canaries trained on, {x.shape[0]} steps of {x.shape[1]}"
    return (
        Measurement(
            name="canary push",
            expected=sample_rate,
            measured=mean,
            p_value=noisy_binomial_p_value(total, x.size, sample_rate, deviation),
            description=f"mean of the releases on {trained}, in units of what a clipped record adds (so: the "
            "sampling rate)",
            z=z,
        ),
        Measurement(
            "canary push shape",
            0.0,
            distance,
            p_shape,
            f"distance of the releases on {trained} from the promised law",
        ),
    )


def _neighbor_correlations(what: str, z: Numbers, of: str) -> tuple[Measurement, ...]:
    """Test the cosine between rows 0, 2, 4 ... and the next ones, as two vectors; then from rows 1, 3, 5 ...
    on.
    """
    found = []
    for first, name in enumerate(("even", "odd")):
        pairs = (len(z) - first) // 2
        if pairs:
            one, other = z[first::2][:pairs], z[first + 1 :: 2][:pairs]
            p_value, cosine = cosine_test(one.ravel(), other.ravel())
            text = f"correlation of the noise{of} of {what} and the next, for {name} {what}"
            found.append(
                Measurement(
                    name=f"canary noise{of} between {what}, {name}",
                    expected=0.0,
                    measured=cosine,
                    p_value=p_value,
                    description=text,
                    z=cosine * one.size**0.5,
                )
            )
    return tuple(found)


def _autocorrelation(z: Numbers, counted: NDArray[np.bool_], of: str = "") -> tuple[Measurement, ...]:
    """Test whether the noise of the counted canaries repeats at a fixed distance, in any step."""
    z = z[: max(1, MAX_NUMBERS // z.shape[1])]
    p_value, distance, correlation = autocorrelation_test(z.ravel(), np.tile(counted, len(z)))
    text = (
        f"correlation of the noise{of} of canaries left out with itself {distance} numbers further on, the "
        "least likely of all distances"
    )
    return (Measurement(f"canary noise{of} autocorrelation", 0.0, correlation, p_value, text),)


def _most_similar_steps(z: Numbers, of: str) -> tuple[Measurement, ...]:
    """Test the pair of steps whose noise is most similar, among all pairs."""
    steps, count = z.shape
    if steps < 2 or count < 2:
        return ()
    directions = z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    largest = 0.0
    for start in range(0, steps, STEPS_AT_ONCE):
        block = np.abs(directions[start : start + STEPS_AT_ONCE] @ directions.T)
        block[np.arange(len(block)), start + np.arange(len(block))] = 0.0
        largest = max(largest, float(block.max()))
    p_value = min(1.0, steps * (steps - 1) / 2 * cosine_p_value(largest, count))
    text = f"largest correlation of the noise{of} of two steps, of {steps * (steps - 1) // 2} pairs"
    return (Measurement(f"canary noise{of} of two steps", 0.0, largest, p_value, text),)
