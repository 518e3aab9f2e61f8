"""A test of the masks: what the server's attack leaves of a vector must look like noise in every bit."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from quintain.core.errors import MechanismError, SettingError
from quintain.core.statistics import binomial_tail
from quintain.federated.secagg import masks
from quintain.federated.secagg.encoding import WORD_DTYPE, EncodedVector
from quintain.federated.secagg.setting_types import check_types
from quintain.federated.unmasking_attack import MaskAttacker, secrets_of
from quintain.federated.view import ServerView

FALSE_ALARM = 1e-9
BITS = 32
FEW_WORDS = 256
PROBED = 4096
"""Words on which it is tried whether a site put on some of its pairwise masks alone."""
FEW_PLACED, MANY_PLACED = 2**11, 2**22
"""Words up to which, and from which on, sorting is as fast as a table."""
_LEAST_PLACE_BITS, _EMPTY = 17, np.uint16(2**16 - 1)
"""So many bits leave at most 15 for the rest of a word, which is never that."""
_SPREAD = np.uint32(2654435769)
"""An odd number, 2^32 over the golden ratio: times it, words that are alike get places far apart (Knuth)."""
_PATTERNS = 2 * BITS  # 32 bits, 31 pairs of neighbors, and repeated words


def require_hidden(
    view: ServerView,
    truth: Mapping[str, EncodedVector],
    *,
    earlier_views: Sequence[ServerView] = (),
    known_secrets: Collection[bytes] = (),
) -> None:
    r"""Attack every masked vector that the server saw, and refuse the view if one is not hidden.

    Of each vector the server removes every mask that it can derive; the self-mask alone; the pairwise masks
    alone; and none, in case some were never put on. Where several pairwise masks can be derived, it tries
    each of them alone and all but it on the first 4,096 words. If the masks are sound, each of these guesses
    less the true words is uniform over the integers mod 2^32, each word for itself. Four signs against that
    are counted and compared with their exact chance (Poisson's for repeats): words that come out right, bits
    that are not fair, neighboring bits that go together, and words that repeat.

    Args:
        view: The round.
        truth: Site to its own encoded vector, for the judge; the attack does not see it.
        earlier_views: Rounds before it, with or without their vectors, whose revealed secrets are tried, too.
        known_secrets: Others that were revealed, such as by other groups of the same round.

    Raises:
        MechanismError: If a sign is rarer than chance allows.
        SettingError: If the truth lacks a site that sent a masked vector.

    Guarantee: a false alarm in one call with probability at most 1e-9, by a union over vectors, guesses and
    signs, half of it for words that come out right; sites that reveal false shares or send malformed messages
    take nothing from the attack on the others. Power, with five vectors and at most one silent site: it
    always notices 4 words in the clear among up to 10 million (2 among 20,000), and from 45 words on the
    lowest bit without a mask, masks that reach only the 27 lowest bits or leave out any low ones, and one
    word for all masks; from 2^15 + 10 words on a stream that starts again after 2^15. A bit that is set with
    probability 0.6 is missed with probability below 1e-6 from 4,000 words on. Not noticed: a single word in
    the clear, streams that look uniform and are not secret, masks that serve two sites or two rounds and were
    not revealed, a stream that starts again beyond the end of the vector, what leaks outside of vectors of
    the agreed length, and a vector that none of these sets of masks leaves bare, such as one that its site
    masked with two of four silent peers alone.
    """
    check_types(ServerView, view=view)
    check_types(Mapping, truth=truth)
    suspects = view.all_masked_vectors
    missing = {site for site, _ in suspects} - set(truth)
    if missing:
        raise SettingError(
            f"truth lacks {', '.join(sorted(missing))}; expected the own words of every site that sent a "
            "masked vector"
        )
    attacker = MaskAttacker(view, secrets_of(earlier_views) | set(known_secrets))
    sets = {site: attacker.sets_of_masks(site) for site, _ in suspects}
    guesses = sum(len(whole) + len(partial) for whole, partial in (sets[site] for site, _ in suspects))
    for site, vector in suspects:
        whole, partial = sets[site]
        for streams, size in [*((one, len(vector)) for one in whole), *((one, PROBED) for one in partial)]:
            left = vector[:size].astype(WORD_DTYPE, copy=True)
            masks.add_streams(left, streams)
            left -= truth[site][:size]
            for sign, chance, part in _signs(left, FALSE_ALARM / guesses):
                if chance < FALSE_ALARM * part / guesses:
                    raise MechanismError(
                        f"the server's view gives away the vector of {site!r}: {sign} (chance {chance:.1g}); "
                        "expected noise: a mask is missing, too narrow or was revealed before; do not run "
                        "this build"
                    )


def _signs(left: EncodedVector, false_alarm: float) -> Iterator[tuple[str, float, float]]:
    """Yield each kind of sign at its worst: what was counted, its chance, and its part of the false alarms.

    Args:
        left: (n,) what the attack leaves of a vector, less the true words.
        false_alarm: Of all signs together; a chance that is clearly above it is not worked out further.
    """
    size, fair = len(left), 0.5 / _PATTERNS
    bare = int(np.count_nonzero(left == 0))
    yield f"{bare} of {size} words come out right", binomial_tail(bare, size, 2.0**-BITS), 0.5

    # Bit j alone, then bit j against bit j + 1: narrow masks leave high bits that are all 0 or all 1, fair
    # each, never apart. All have the same size, so the most uneven one is the least likely.
    bit, ones = _most_uneven(left, BITS)
    chance = _two_sided_p_value(ones, size, false_alarm * fair)
    yield f"bit {bit} of what is left is set in {ones} of {size} words", chance, fair
    shifted = left >> np.uint32(1)
    shifted ^= left
    bit, apart = _most_uneven(shifted, BITS - 1)
    chance = _two_sided_p_value(apart, size, false_alarm * fair)
    yield f"bits {bit} and {bit + 1} of what is left differ in {apart} of {size} words", chance, fair

    repeats = _count_repeats(left)
    mean = size * (size - 1) / 2 / 2.0**BITS
    yield (
        f"{repeats} words of what is left repeat another",
        _at_least(repeats, mean, false_alarm * fair),
        fair,
    )


def _most_uneven(words: EncodedVector, num_bits: int) -> tuple[int, int]:
    """Return which of the lowest bits is furthest from being set in half of the words, and in how many."""
    ones = _ones_by_bit(words)[:num_bits]
    worst = int(np.abs(2 * ones - len(words)).argmax())
    return worst, int(ones[worst])


def _ones_by_bit(words: EncodedVector) -> NDArray[np.int64]:
    """Return in how many words each of the 32 bits is set."""
    # Carry-save adders: three words become their sum and carry, bit by bit, until few are left to be counted;
    # then the carries likewise, each of twice the weight.
    ones, weight = np.zeros(BITS, np.int64), 1
    while len(words):
        carries = [words[:0]]
        while len(words) > FEW_WORDS:
            third = len(words) // 3
            first, second, last = (words[k * third : (k + 1) * third] for k in range(3))
            half, carry = first ^ second, first & second
            following = np.empty(len(words) - 2 * third, np.uint32)
            np.bitwise_xor(half, last, out=following[:third])
            following[third:] = words[3 * third :]
            half &= last
            carry |= half
            carries.append(carry)
            words = following
        bits = np.unpackbits(words.astype("<u4").view(np.uint8), bitorder="little").reshape(-1, BITS)
        ones += weight * bits.sum(0, dtype=np.int64)
        words, weight = np.concatenate(carries), 2 * weight
    return ones


def _count_repeats(words: EncodedVector) -> int:
    """Return how many words equal another one that was counted: all of them, less the different ones."""
    # A hash table with twice as many places as words: an odd factor spreads the words one to one; of the
    # product the high bits are the place and the low bits what is put there, in the end the last word's.
    # Words that find their own are it, or repeat it; the others go into another table. Where many want few
    # places, which honest ones do with no chance to speak of, they are sorted.
    found = 0
    spread = words * _SPREAD
    while FEW_PLACED < len(spread) <= MANY_PLACED:
        low = BITS - max(len(spread).bit_length() + 1, _LEAST_PLACE_BITS)
        places = (spread >> np.uint32(low)).astype(np.intp)
        tags = (spread & np.uint32((1 << low) - 1)).astype(np.uint16)
        table = np.full(1 << (BITS - low), _EMPTY, np.uint16)
        table[places] = tags
        others = spread[table[places] != tags]
        found += len(spread) - len(others) - int(np.count_nonzero(table != _EMPTY))
        if 2 * len(others) > len(spread):
            spread = others
            break
        spread = others
    spread.sort()
    return found + int(np.count_nonzero(spread[1:] == spread[:-1]))


def _two_sided_p_value(ones: int, size: int, negligible: float) -> float:
    """Return the p-value of fair bits being as uneven as this; a lower bound if that is not negligible."""
    # one count alone is a lower bound, which needs no special function
    exactly = math.lgamma(size + 1) - math.lgamma(ones + 1) - math.lgamma(size - ones + 1)
    bound = math.exp(exactly - size * math.log(2))
    if bound > 2 * negligible:
        return bound
    return min(1.0, 2 * binomial_tail(max(ones, size - ones), size, 0.5))


def _at_least(count: int, mean: float, negligible: float) -> float:
    """P[Poisson(mean) >= count]; a lower bound of it where that is above another chance."""
    if count == 0:
        return 1.0
    bound = math.exp(count * math.log(mean) - mean - math.lgamma(count + 1))
    if bound > 2 * negligible:
        return bound
    from scipy.special import pdtrc

    return float(pdtrc(count - 1, mean))
