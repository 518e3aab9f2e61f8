"""Exact sampling of the discrete Gaussian distribution, from random bits alone."""

import math
from decimal import Decimal, localcontext

import numpy as np
import numpy.typing as npt

from quintain.dp.randomness.stream import RandomStream

Integers = npt.NDArray[np.int64]

BITS = 24
BLOCK_LENGTH = 1 << BITS
"""Length of one block of proposals; it covers noise of a standard deviation of up to about 2^23.76."""
VARIANCE = 203_036_000_000_000
"""Variance of the noise, in squared grid steps: below ``BLOCK_LENGTH**2 / (2 * ln 2)``."""
MARGIN = 2.0**-40
"""Relative error of an acceptance probability in float64: far above what its formula can have."""
CHUNK = 1 << 16
"""Proposals that are made at a time."""


def discrete_gaussian(count: int, stream: RandomStream) -> Integers:
    r"""``count`` independent integers with the discrete Gaussian distribution.

    .. math:: \Pr[X = x] \propto e^{-x^2 / 2 s^2}, \qquad s^2 = \mathtt{VARIANCE}

    Rejection, as in the discrete case of Canonne, Kamath and Steinke, from a proposal made of bits alone: a
    sign, a block v with probability 2^-(v+1), and a uniform offset in it, so that x is accepted with
    probability :math:`2^v e^{-x^2 / 2 s^2} \le 1`. A uniform real number is compared with that: in floating
    point where the two differ by more than all its errors, else digit by digit.

    Guarantee: exact, but that no x of 31 blocks or more (a probability below 2^-990 each) is ever proposed.
    The time that it takes depends on the random numbers, not on data.

    Source: Canonne, Kamath, Steinke, 2020, arXiv:2004.00010.
    """
    out = np.empty(count, dtype=np.int64)
    done = 0
    while done < count:
        found = _rejection_round(min(2 * (count - done) + 64, CHUNK), stream)[: count - done]
        out[done : done + len(found)] = found
        done += len(found)
    return out


def _rejection_round(proposals: int, stream: RandomStream) -> Integers:
    """One round of rejection sampling: the proposals that are accepted."""
    # bits 0-23: offset; leading zeros of bits 32-62: block (geometric); bit 63: sign; another word: the
    # uniform
    words = stream.words(2 * proposals)
    proposal_bits, uniform_bits = words[:proposals], words[proposals:]
    offset = (proposal_bits & np.uint64(BLOCK_LENGTH - 1)).astype(np.int64)
    block = 31 - np.frexp(((proposal_bits >> np.uint64(32)) & np.uint64((1 << 31) - 1)).astype(np.float64))[
        1
    ].astype(np.int64)
    negative = (proposal_bits >> np.uint64(63)).astype(bool)
    x = offset + block * BLOCK_LENGTH
    # accept with 2^v exp(-x^2 / 2 s^2) <= 1, which holds since s^2 <= 2^48 / (2 ln 2) and x >= v 2^24
    probability = np.exp(block * math.log(2) - (x * x).astype(np.float64) / (2.0 * VARIANCE))
    uniform = (uniform_bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
    # surely below, surely above, or decided digit by digit: exact
    accepted = uniform + 2.0**-53 <= probability * (1 - MARGIN)
    for i in np.flatnonzero(~accepted & (uniform < probability * (1 + MARGIN))):
        accepted[i] = _uniform_is_below(int(uniform_bits[i]), int(block[i]), int(x[i]), stream)
    # block 31 means 31 zeros, no block; zero must not be counted with both signs
    accepted &= (block < 31) & ~(negative & (x == 0))
    return np.where(negative, -x, x)[accepted]


def _uniform_is_below(digits: int, block: int, x: int, stream: RandomStream) -> bool:
    """Whether a uniform number with these first 64 binary digits is below 2^block exp(-x^2 / 2 s^2)."""
    # compare in Decimal with as many digits as there are bits; undecided: 64 more bits
    length = 64
    with localcontext() as context:
        while True:
            context.prec = length
            value = (Decimal(-x * x) / (2 * VARIANCE)).exp() * (1 << block) * (1 << length)
            error = value * Decimal(10) ** (8 - length)
            if Decimal(digits + 1) <= value - error:
                return True
            if Decimal(digits) >= value + error:
                return False
            digits, length = (digits << 64) | int(stream.words(1)[0]), length + 64
