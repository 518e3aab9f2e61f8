"""Laws that noise must follow wherever it is looked at: nothing of it comes again, and nothing of it comes
out too exactly.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from quintain.core.laws import exact_p, from_mean, ranked, repeated_p, sizes
from quintain.results.specification import Measurement

Numbers = npt.NDArray[np.float64]


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
