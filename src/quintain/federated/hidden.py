"""A test of the masks: what the server's attack leaves of a vector must look like noise in every bit."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from quintain.core.errors import MechanismError, SettingError
from quintain.core.statistics import binomial_tail
from quintain.federated.secagg.encoding import EncodedVector, check_types
from quintain.federated.unmasking_attack import MaskAttacker
from quintain.federated.view import ServerView

FALSE_ALARM = 1e-9
BITS = 32
_PATTERNS = 2 * BITS  # 32 bits, 31 pairs of neighbours, and repeated words


def require_hidden(
    view: ServerView, truth: Mapping[str, EncodedVector], *, earlier_views: Sequence[ServerView] = ()
) -> None:
    r"""Attack every masked vector that the server saw, and refuse the view if one is not hidden.

    The server removes every mask that it can derive. If the masks are sound, its guess less the true words is
    uniform over the integers mod 2^32, each word for itself. Four signs against that are counted and compared
    with their exact chance (Poisson's for repeats): words that come out right, bits that are not fair,
    neighbouring bits that go together, and words that repeat.

    Args:
        view: The round.
        truth: Site to its own encoded vector, for the judge; the attack does not see it.
        earlier_views: Rounds before it, with or without their vectors.

    Raises:
        MechanismError: If a sign is rarer than chance allows.
        SettingError: If the truth lacks a site that sent a masked vector.

    Guarantee: a false alarm in one call with probability at most 1e-9, by a union over sites and signs, half
    of it for words that come out right. Power, with five sites: it always notices 4 words in the clear among
    up to 10 million (2 among 60,000), and from 45 words on the lowest bit without a mask, masks that reach
    only the 27 lowest bits or leave out any low ones, and one word for all masks; from 2^15 + 10 words on a
    stream that starts again after 2^15. A bit that is set with probability 0.6 is missed with probability
    below 1e-6 from 4,000 words on. Not noticed: a single word in the clear, streams that look uniform and are
    not secret, a stream that starts again beyond the end of the vector, and what leaks outside of the
    vectors.
    """
    check_types(ServerView, view=view)
    check_types(Mapping, truth=truth)
    suspects = tuple(view.masked_vectors)
    missing = set(suspects) - set(truth)
    if missing:
        raise SettingError(
            f"truth lacks {', '.join(sorted(missing))}; expected the own words of every site that sent a "
            "masked vector"
        )
    attacker = MaskAttacker(view, earlier_views)
    for site in suspects:
        left = attacker.attack(site).encoded - truth[site]
        for sign, chance, share in _signs(left):
            if chance < FALSE_ALARM * share / len(suspects):
                raise MechanismError(
                    f"the server's view gives away the vector of {site!r}: {sign} (chance {chance:.1g}); "
                    "expected noise: a mask is missing, too narrow or serves twice, do not run this build"
                )


def _signs(left: EncodedVector) -> Iterator[tuple[str, float, float]]:
    """Each sign against uniform words: what was counted, its chance, and its share of the false alarms."""
    size, fair = len(left), 0.5 / _PATTERNS
    bare = int(np.count_nonzero(left == 0))
    yield f"{bare} of {size} words come out right", binomial_tail(bare, size, 2.0**-BITS), 0.5

    # Bit j alone, then bit j against bit j + 1: narrow masks leave high bits that are all 0 or all 1, fair
    # each, never apart.
    neighbours = left ^ (left >> np.uint32(1))
    for bit in range(BITS):
        ones = int(np.count_nonzero(left & np.uint32(1 << bit)))
        yield f"bit {bit} of what is left is set in {ones} of {size} words", _two_sided(ones, size), fair
        if bit < BITS - 1:
            apart = int(np.count_nonzero(neighbours & np.uint32(1 << bit)))
            yield (
                f"bits {bit} and {bit + 1} of what is left differ in {apart} of {size} words",
                _two_sided(apart, size),
                fair,
            )

    ordered = np.sort(left)
    repeats = int(np.count_nonzero(ordered[1:] == ordered[:-1]))
    yield (
        f"{repeats} words of what is left repeat another",
        _at_least(repeats, size * (size - 1) / 2 / 2.0**BITS),
        fair,
    )


def _two_sided(ones: int, size: int) -> float:
    """The chance that fair bits are as uneven as this."""
    return min(1.0, 2 * binomial_tail(max(ones, size - ones), size, 0.5))


def _at_least(count: int, mean: float) -> float:
    """P[Poisson(mean) >= count]."""
    from scipy.special import pdtrc

    return 1.0 if count == 0 else float(pdtrc(count - 1, mean))
