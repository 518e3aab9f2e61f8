"""The differencing attack: the difference of two sums whose survivors differ by one site is its update.

Over one model it would be the update itself, which is why a site's journal refuses a second cohort there.
Over the different models of neighboring rounds it is the update plus what the others' updates changed by in
between: exact where training hardly moves, a blur where it moves much. Secure sums do not hide that;
differential privacy does, and so does a cohort that never changes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from quintain.federated.secagg.encoding import EncodedVector, Encoding
from quintain.federated.view import ServerView
from quintain.leakage import subtract_sums


@dataclass(frozen=True, slots=True)
class OpenedSum:
    """A sum that the server has, and beside it what only a simulation knows.

    Args:
        total: (length,) the sum, in the units of the updates.
        encoded: Each site whose vector is in it, and that encoded vector (num_words,).
        encoding: The grid.
    """

    total: NDArray[np.float64] = field(repr=False)
    encoded: Mapping[str, EncodedVector] = field(repr=False)
    encoding: Encoding


def group_sums(views: Sequence[ServerView], encoded: Mapping[str, EncodedVector]) -> tuple[OpenedSum, ...]:
    """Return the sums of groups that the server can open, whether or not it took an average of them.

    Args:
        views: Of each group.
        encoded: Site to its own encoded vector (num_words,), whose exact sum is opened.
    """
    opened = []
    for view in views:
        # a seed of each survivor and a mask key of each site that shared and is none: nothing else hides it
        if not view.survivors or not set(view.sharers) <= view.revealed_secrets.keys():
            continue
        words = {name: encoded[name] for name in view.policy.roster.names_of(view.survivors)}
        encoding = view.policy.encoding
        total = np.sum([encoding.to_signed(one) for one in words.values()], axis=0)
        opened.append(OpenedSum(encoding.decode(total), words, encoding))
    return tuple(opened)


def exposure(before: Sequence[OpenedSum], now: Sequence[OpenedSum]) -> dict[str, float]:
    """Return the cosine of the server's guess with the true update, by site.

    Args:
        before, now: The sums of two rounds: one of all sites, or one a group.

    Returns:
        Nothing of a site unless two sums are of the same sites but for it.
    """
    found = {}
    for first in before:
        for second in now:
            difference = subtract_sums(first.total, first.encoded, second.total, second.encoded)
            if difference is not None:
                site, guess = difference
                summed = first if site in first.encoded else second
                true = summed.encoding.decode(summed.encoding.to_signed(summed.encoded[site]))
                found[site] = cosine(guess, true)
    return found


def latest(before: Sequence[OpenedSum], now: Sequence[OpenedSum]) -> tuple[OpenedSum, ...]:
    """Return the last sum that the server has of each group: that of now, or an earlier one."""
    kept = (one for one in before if not any(one.encoded.keys() & other.encoded.keys() for other in now))
    return (*kept, *now)


def cosine(guess: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """The cosine of the angle between a guess and the truth; 0 if one of them is zero."""
    norms = float(np.linalg.norm(guess) * np.linalg.norm(truth))
    return float(guess @ truth) / norms if norms else 0.0
