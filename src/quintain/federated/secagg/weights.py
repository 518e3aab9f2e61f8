r"""Bounds on public weights, so that a sum hides each site as well as a sum of two equals hides one.

A site of weight w among others of weights v_j has a sum that points along its own update: with updates of one
length that have nothing to do with each other, the cosine between the two is :math:`w / \sqrt{w^2 + \sum_j
v_j^2}`. In the smallest federation that the protocol allows, two honest sites of equal weight, it is
:math:`1/\sqrt{2}`. No weights may give away more than that, whatever ``minimum`` sites survive, and when
those that side with the server have taken their own updates off the sum:

.. math:: w^2 \le \sum v_j^2
    \quad \text{over the } \mathrm{minimum} - \mathrm{corrupt} - 1 \text{ smallest other weights.}

No site then has more than half of that sum's weight either, since the root of a sum of squares is at most the
sum. Equal weights always pass. All is worked out in integers, however large they are.
"""

import math
from collections.abc import Iterable, Mapping

from quintain.core.errors import SettingError


def largest_weight(weights: Iterable[int], min_survivors: int, max_corrupt: int) -> int:
    """The largest weight that a site may have beside the others."""
    return math.isqrt(sum(weight**2 for weight in _smallest(weights, min_survivors, max_corrupt)))


def largest_fraction(weights: Iterable[int], min_survivors: int, max_corrupt: int) -> float:
    """Return the largest fraction of a sum's weight that is one site's.

    The sum is the smallest allowed one, less the sites that may side with the server.
    """
    weights = tuple(weights)
    most = max(weights)
    return most / (most + sum(_smallest(weights, min_survivors, max_corrupt)))


def capped_weights(weights: Mapping[str, int], min_survivors: int, max_corrupt: int) -> dict[str, int]:
    """Return the weights, capped at the largest that is allowed."""
    most = largest_weight(weights.values(), min_survivors, max_corrupt)
    return {name: min(weight, most) for name, weight in weights.items()}


def check_weights(weights: Mapping[str, int], min_survivors: int, max_corrupt: int, largest: int) -> None:
    """Refuse weights under which a sum is one site's own update in all but name, or lacks a site.

    Args:
        weights: Site to weight.
        min_survivors: Fewest survivors.
        max_corrupt: Sites that may side with the server.
        largest: The largest encoded entry at full weight.

    Raises:
        SettingError: If a weight is below 1, above ``largest_weight``, or so small that a site's largest
            entry is less than one grid step.
    """
    heaviest, lightest = max(weights, key=weights.__getitem__), min(weights, key=weights.__getitem__)
    if weights[lightest] < 1:
        raise SettingError(
            f"the weight of {lightest!r} is {weights[lightest]}; expected 1 or more: leave out whom the sum "
            "is not to count"
        )
    most = largest_weight(weights.values(), min_survivors, max_corrupt)
    if weights[heaviest] > most:
        raise SettingError(
            f"{heaviest!r} weighs {_weight_text(weights[heaviest])}; expected at most {_weight_text(most)}, "
            f"the root of the summed squares of the {min_survivors - max_corrupt - 1} smallest other "
            f"weights: in a sum of min_survivors = {min_survivors} sites, max_corrupt = {max_corrupt} of "
            "which take off their own, it would stand out more than one of two equals, and the sum come "
            "near to its own update. Cut its weight to that, raise min_survivors, or give equal weights"
        )
    if weights[lightest] * largest < weights[heaviest]:
        raise SettingError(
            f"{lightest!r} weighs {weights[lightest]} beside {_weight_text(weights[heaviest])}: its largest "
            f"entry is below one step of the grid ({largest} steps at full weight), so that the sum would "
            "lack it; expected weights less far apart, or a larger scale"
        )


def _smallest(weights: Iterable[int], min_survivors: int, max_corrupt: int) -> list[int]:
    """The weights beside which the heaviest site stands out most."""
    return sorted(weights)[: min_survivors - max_corrupt - 1]


def _weight_text(weight: int) -> str:
    """Return a weight in digits, or as a power of 2 if it has many."""
    return str(weight) if weight < 10**15 else f"more than 2^{weight.bit_length() - 1}"
