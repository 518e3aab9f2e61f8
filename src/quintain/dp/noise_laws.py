"""Laws that noise must follow wherever it is looked at: nothing of it comes again, and nothing of it comes
out too exactly.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

from quintain.core.laws import alike_p, exact_p, from_mean, ranked, repeated_p, sizes
from quintain.results.specification import Measurement

Numbers = npt.NDArray[np.float64]

HEAD = 1024
"""Numbers of each parameter, its first ones, whose noise is compared with that of other steps and
parameters.
"""
TINY = float(np.finfo(np.float64).tiny)
ROUNDINGS = 4.0
"""By how many times the precision of their format numbers may differ that are equal but for it."""


def exact(
    name: str,
    sums: Numbers,
    squares: Numbers,
    counts: npt.NDArray[np.int64],
    levels: Sequence[npt.NDArray[np.int64]],
) -> tuple[Measurement, Measurement]:
    """Whether sums and sums of squares of parts of the noise vary as they should: too exact is as wrong as
    too far.

    Args:
        name: Of the noise.
        sums, squares: Of the standard normal numbers of each part, (steps, parts).
        counts: How many there are in each part.
        levels: For each level, the parts that begin what is added up there.
    """
    parts = [np.add.reduceat(counts, level).astype(np.float64) for level in levels]
    added = [[np.add.reduceat(one, level, axis=1) for level in levels] for one in (sums, squares)]
    found = (
        ("sums", "sums", exact_p([one / np.sqrt(count) for one, count in zip(added[0], parts, strict=True)])),
        (
            "squares",
            "sums of squares",
            exact_p(*([law(*of) for of in zip(added[1], parts, strict=True)] for law in (ranked, from_mean))),
        ),
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


def repeated(name: str, z: Numbers) -> tuple[Measurement, Measurement]:
    """How much a series of noise is like itself further on, at the distance where that is least likely; also
    without its signs.
    """
    told = []
    for which, x in (("elsewhere", z), ("elsewhere without signs", sizes(z))):
        p_value, distance, correlation = repeated_p(x)
        text = (
            f"correlation of the {name} with itself {distance} numbers further on, the least likely of "
            f"{z.size - 1} distances"
        )
        told.append(
            Measurement(
                f"{name} {which}", 0.0, correlation, p_value, text + ("" if x is z else ", without signs")
            )
        )
    return told[0], told[1]


def heads(z: Numbers, numels: Sequence[int]) -> Numbers:
    """The first numbers of each parameter in each step, (steps, parameters, numbers): zeros after the last
    one of a small parameter.

    Args:
        z: Noise, (steps, numbers of all parameters).
        numels: How many numbers each parameter has.
    """
    out = np.zeros((len(z), len(numels), min(HEAD, max(numels))))
    for i, part in enumerate(np.split(z, np.cumsum(numels)[:-1], axis=1)):
        out[:, i, : part.shape[1]] = part[:, :HEAD]
    return out


def alike(name: str, found: Numbers, numels: Sequence[int], precision: float) -> tuple[Measurement, ...]:
    r"""Whether a parameter has, in its first 1,024 numbers, the noise that it has in another step, or that
    another parameter has in two steps; also without signs.

    A parameter of any size is seen whose noise is equal; that of one number, where it is so twice. Of n
    numbers that are compared, about :math:`8 \sqrt n` or more that are equal are seen.

    Args:
        name: Of the noise.
        found: What ``heads`` gave, of an even number of steps.
        numels: How many numbers each parameter has.
        precision: Of the coarsest format of them.
    """
    counts, rounding = np.minimum(numels, found.shape[2]).astype(np.float64), ROUNDINGS * precision
    told = []
    for of in ("", " without signs"):
        z = found if not of else np.where(np.arange(found.shape[2]) < counts[:, None], sizes(found), 0.0)
        for where, compared in (("step", _between_steps), ("parameter", _between_parameters)):
            p_values, cosines = compared(z, counts, rounding)
            at = int(p_values.argmin()) if p_values.size else 0
            p_value, cosine = (p_values[at], cosines[at]) if p_values.size else (1.0, 0.0)
            text = (
                f"correlation of the {name}{of} of a parameter with that in another {where}, the least "
                f"likely of {p_values.size} comparisons"
            )
            told.append(
                Measurement(
                    f"{name}{of} in another {where}",
                    0.0,
                    float(cosine),
                    min(1.0, max(p_values.size, 1) * float(p_value)),
                    text,
                )
            )
    return tuple(told)


def _between_steps(z: Numbers, counts: Numbers, rounding: float) -> tuple[Numbers, Numbers]:
    """P-values and cosines of each parameter in all pairs of steps, and in two pairs at a time that share
    none.
    """
    squares = np.square(z).sum(axis=2)
    pairs = list(combinations(range(len(z)), 2))
    one = {(a, b): np.stack([(z[a] * z[b]).sum(axis=1), squares[a], squares[b], counts]) for a, b in pairs}
    two = [one[p] + one[q] for p, q in combinations(pairs, 2) if not {*p} & {*q}]
    products, ones, others, numbers = np.concatenate([*one.values(), *two], axis=1)
    return alike_p(products, ones, others, numbers, rounding), products / np.sqrt(ones * others + TINY)


def _between_parameters(z: Numbers, counts: Numbers, rounding: float) -> tuple[Numbers, Numbers]:
    """P-values and cosines of each two parameters, as far as the smaller one goes, in two steps at a time."""
    p_values, cosines = [np.empty(0)], [np.empty(0)]
    for two in np.split(z, len(z) // 2):
        squares = np.square(two).sum(axis=0).cumsum(axis=1)
        for i in range(len(counts) - 1):
            common = np.minimum(counts[i], counts[i + 1 :])
            last = common.astype(np.int64) - 1
            products = sum(step[i + 1 :] @ step[i] for step in two)
            one, other = squares[i, last], np.take_along_axis(squares[i + 1 :], last[:, None], axis=1)[:, 0]
            p_values.append(alike_p(products, one, other, 2 * common, rounding))
            cosines.append(products / np.sqrt(one * other + TINY))
    return np.concatenate(p_values), np.concatenate(cosines)
