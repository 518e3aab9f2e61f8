"""Tests of noise beyond its distribution: no part repeats another, and no sum varies too little."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

from quintain.core.p_values import (
    autocorrelation_test,
    chi_square_to_normal,
    magnitudes_to_normal,
    mean_deviations_to_half_normal,
    omnibus_test,
    similarity_p_values,
)
from quintain.results.specification import Measurement

Numbers = npt.NDArray[np.float64]

MAX_COMPARED = 1024
"""Most numbers of a parameter (its first ones) whose noise is compared with other steps and parameters."""
TINY = float(np.finfo(np.float64).tiny)
ROUNDINGS = 4.0
"""Equal numbers may differ after rounding by so many times the precision of their format."""


def variation_measurements(
    name: str,
    sums: Numbers,
    squares: Numbers,
    counts: npt.NDArray[np.int64],
    levels: Sequence[npt.NDArray[np.int64]],
) -> tuple[Measurement, Measurement]:
    """Test whether sums and sums of squares of parts of the noise vary as they should, neither more nor less.

    Args:
        name: Name of the noise.
        sums, squares: Of the standard normal numbers of each part, (steps, parts).
        counts: How many numbers each part has.
        levels: Groupings of the parts, such as by layer and over all: the first part of each group, for each
            grouping.
    """
    group_counts, group_sums, group_squares = (
        [np.add.reduceat(one, level, axis=-1) for level in levels]
        for one in (counts.astype(np.float64), sums, squares)
    )
    normal = [total / np.sqrt(count) for total, count in zip(group_sums, group_counts, strict=True)]
    scores = list(map(chi_square_to_normal, group_squares, group_counts))
    deviations = list(map(mean_deviations_to_half_normal, group_squares, group_counts))
    found = (
        ("sums", "sums", omnibus_test(normal)),
        ("squares", "sums of squares", omnibus_test(scores, deviations)),
    )
    one, other = (
        Measurement(
            f"{name}, {which}",
            1.0,
            spread,
            p_value,
            f"spread of {what} of the {name} in each step, by part and over all, over what it should be",
        )
        for which, what, (p_value, spread) in found
    )
    return one, other


def autocorrelation_measurements(name: str, z: Numbers) -> tuple[Measurement, Measurement]:
    """Measure the least likely autocorrelation of a series of noise over all lags; also of its magnitudes."""
    found = []
    for which, x in (("autocorrelation", z), ("autocorrelation without signs", magnitudes_to_normal(z))):
        p_value, distance, correlation = autocorrelation_test(x)
        text = (
            f"correlation of the {name} with itself {distance} numbers further on, the least likely of "
            f"{z.size - 1} distances"
        )
        found.append(
            Measurement(
                f"{name} {which}", 0.0, correlation, p_value, text + ("" if x is z else ", without signs")
            )
        )
    return found[0], found[1]


def first_numbers(z: Numbers, numels: Sequence[int]) -> Numbers:
    """Return the first numbers of each parameter in each step, (steps, parameters, numbers).

    Parameters with fewer numbers than others are padded with zeros.

    Args:
        z: Noise, (steps, numbers of all parameters).
        numels: How many numbers each parameter has.
    """
    out = np.zeros((len(z), len(numels), min(MAX_COMPARED, max(numels))))
    for i, part in enumerate(np.split(z, np.cumsum(numels)[:-1], axis=1)):
        out[:, i, : part.shape[1]] = part[:, :MAX_COMPARED]
    return out


def similarity_measurements(
    name: str, first: Numbers, numels: Sequence[int], precision: float
) -> tuple[Measurement, ...]:
    r"""Test whether a parameter's first 1,024 noise values recur in another step or another parameter.

    Magnitudes are compared as well. Noise that recurs as a whole is found in a parameter of any size; for a
    parameter of one number, if it recurs in two pairs of steps. Noise that recurs in part is found if about
    :math:`8 \sqrt n` of the n numbers recur.

    Args:
        name: Name of the noise.
        first: The result of ``first_numbers``, of an even number of steps.
        numels: How many numbers each parameter has.
        precision: Machine epsilon of the coarsest format of the parameters.
    """
    counts, rounding = np.minimum(numels, first.shape[2]).astype(np.float64), ROUNDINGS * precision
    found = []
    for of in ("", " without signs"):
        z = (
            first
            if not of
            else np.where(np.arange(first.shape[2]) < counts[:, None], magnitudes_to_normal(first), 0.0)
        )
        for where, compare in (("step", _compare_steps), ("parameter", _compare_parameters)):
            p_values, cosines = compare(z, counts, rounding)
            at = int(p_values.argmin()) if p_values.size else 0
            p_value, cosine = (p_values[at], cosines[at]) if p_values.size else (1.0, 0.0)
            text = (
                f"correlation of the {name}{of} of a parameter with that in another {where}, the least "
                f"likely of {p_values.size} comparisons"
            )
            found.append(
                Measurement(
                    f"{name}{of} in another {where}",
                    0.0,
                    float(cosine),
                    min(1.0, max(p_values.size, 1) * float(p_value)),
                    text,
                )
            )
    return tuple(found)


def _compare_steps(z: Numbers, counts: Numbers, rounding: float) -> tuple[Numbers, Numbers]:
    """Return p-values and cosines of each parameter's noise, for all pairs of steps and all disjoint
    pairs of pairs.
    """
    squares = np.square(z).sum(axis=2)
    pairs = list(combinations(range(len(z)), 2))
    one = {(a, b): np.stack([(z[a] * z[b]).sum(axis=1), squares[a], squares[b], counts]) for a, b in pairs}
    two = [one[p] + one[q] for p, q in combinations(pairs, 2) if not {*p} & {*q}]
    products, ones, others, numbers = np.concatenate([*one.values(), *two], axis=1)
    return similarity_p_values(products, ones, others, numbers, rounding), products / np.sqrt(
        ones * others + TINY
    )


def _compare_parameters(z: Numbers, counts: Numbers, rounding: float) -> tuple[Numbers, Numbers]:
    """Return p-values and cosines of all pairs of parameters, over the numbers of the smaller one.

    Two steps are joined into one vector, so that parameters of one number can be compared.
    """
    p_values, cosines = [np.empty(0)], [np.empty(0)]
    for two in np.split(z, len(z) // 2):
        squares = np.square(two).sum(axis=0).cumsum(axis=1)
        for i in range(len(counts) - 1):
            common = np.minimum(counts[i], counts[i + 1 :])
            last = common.astype(np.int64) - 1
            products = sum(step[i + 1 :] @ step[i] for step in two)
            one, other = squares[i, last], np.take_along_axis(squares[i + 1 :], last[:, None], axis=1)[:, 0]
            p_values.append(similarity_p_values(products, one, other, 2 * common, rounding))
            cosines.append(products / np.sqrt(one * other + TINY))
    return np.concatenate(p_values), np.concatenate(cosines)
