"""The differencing attack: the difference of two sums whose survivors differ by one site is its update.

Over one model it would be the update itself, which is why a site's journal refuses a second cohort there.
Over the different models of neighboring rounds it is the update plus what the others' updates changed by in
between: exact where training hardly moves, a blur where it moves much. Secure sums do not hide that;
differential privacy does, and so does a cohort that never changes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from quintain.federated.secagg.encoding import EncodedVector, Encoding
from quintain.leakage import subtract_sums


@dataclass(frozen=True, slots=True)
class OpenedSum:
    """A sum that the server has, and beside it what only a simulation knows.

    Args:
        survivors: Whose vectors are in it.
        total: (length,) the sum, in the units of the updates.
        encoded: Site to its own encoded vector (num_words,), of all sites.
        encoding: The grid.
    """

    survivors: tuple[str, ...]
    total: NDArray[np.float64] = field(repr=False)
    encoded: Mapping[str, EncodedVector] = field(repr=False)
    encoding: Encoding


def exposure(before: OpenedSum, now: OpenedSum) -> dict[str, float]:
    """Return the cosine of the server's guess with the true update, by site.

    It is empty if no site is in one of the two sums alone.
    """
    difference = subtract_sums(before.total, before.survivors, now.total, now.survivors)
    if difference is None:
        return {}
    site, guess = difference
    summed = before if site in before.survivors else now
    return {site: cosine(guess, summed.encoding.decode(summed.encoding.to_signed(summed.encoded[site])))}


def cosine(guess: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """The cosine of the angle between a guess and the truth; 0 if one of them is zero."""
    norms = float(np.linalg.norm(guess) * np.linalg.norm(truth))
    return float(guess @ truth) / norms if norms else 0.0
