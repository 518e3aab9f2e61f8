"""Exact samples of the discrete Gaussian distribution, made of random bits alone."""

import math
from decimal import Decimal, localcontext

import numpy as np
import numpy.typing as npt

from quintain.core.errors import SettingError
from quintain.dp.randomness.stream import RandomStream

Integers = npt.NDArray[np.int64]

MAX_OFFSET_BITS = 24
"""Binary digits of a proposal's place in its block, at most: a standard deviation of up to about 2^23.76."""

VARIANCE = 203_036_000_000_000
"""The largest variance, in squared grid steps: below ``2**(2 * MAX_OFFSET_BITS) / (2 * ln 2)``."""

RELATIVE_ERROR = 2.0**-40
"""Bound on the relative error of an acceptance probability in float64, far above the actual error."""

MAX_PROPOSALS = 1 << 16
"""Proposals of one round at most, which bounds the memory."""


def discrete_gaussian(count: int, stream: RandomStream, variance: int = VARIANCE) -> Integers:
    r"""Return ``count`` independent integers with the discrete Gaussian distribution.

    .. math:: \Pr[X = x] \propto e^{-x^2 / 2 s^2}, \qquad s^2 = \mathtt{variance}

    Rejection sampling, as in the discrete case of Canonne, Kamath and Steinke. A proposal x is made of bits
    alone: a sign, a block v with probability 2^-(v+1), and a uniform offset in the block. It is accepted with
    probability :math:`2^v e^{-x^2 / 2 s^2} \le 1`. To decide, a uniform real number is compared with that
    probability: in floating point where the two differ by more than all errors, else with as many binary
    digits as are needed.

    Args:
        count: Number of integers.
        stream: Source of the random bits.
        variance: s^2, an integer from 1 to ``VARIANCE``, in squared grid steps; the distribution's own
            variance is never larger, and equal to it but for 1e-6 from 2 on.

    Raises:
        SettingError: If the variance is out of range.

    Guarantee: exact, except that an x of 31 blocks or more (with a probability below 2^-990 each) is never
    proposed. The run time depends on the random bits, not on data.

    Source: Canonne, Kamath, Steinke, 2020, arXiv:2004.00010.
    """
    if not 1 <= variance <= VARIANCE:
        raise SettingError(f"variance = {variance}; expected an integer from 1 to {VARIANCE}")
    samples = np.empty(count, dtype=np.int64)
    offset_bits = _offset_bits(variance)
    filled = 0
    while filled < count:
        # about half of the proposals are accepted
        num_proposals = min(2 * (count - filled) + 64, MAX_PROPOSALS)
        accepted = _rejection_round(num_proposals, stream, variance, offset_bits)[: count - filled]
        samples[filled : filled + len(accepted)] = accepted
        filled += len(accepted)
    return samples


def _offset_bits(variance: int) -> int:
    """Return the fewest binary digits b of an offset for which ``variance <= 4^b / (2 ln 2)``."""
    # 1.3863 > 2 ln 2, in integers
    return next(b for b in range(1, MAX_OFFSET_BITS + 1) if variance * 13863 <= 10000 << 2 * b)


def _rejection_round(num_proposals: int, stream: RandomStream, variance: int, offset_bits: int) -> Integers:
    """Return those of so many proposals that are accepted; a block has ``2^offset_bits`` integers."""
    block_length = 1 << offset_bits
    # one word for each proposal: its lowest bits are the offset, the number of leading zeros in bits 32-62 is
    # the block (geometric), bit 63 is the sign; another word for each uniform number
    words = stream.words(2 * num_proposals)
    proposal_bits, uniform_bits = words[:num_proposals], words[num_proposals:]
    offset = (proposal_bits & np.uint64(block_length - 1)).astype(np.int64)
    block = 31 - np.frexp(((proposal_bits >> np.uint64(32)) & np.uint64((1 << 31) - 1)).astype(np.float64))[
        1
    ].astype(np.int64)
    negative = (proposal_bits >> np.uint64(63)).astype(bool)
    x = offset + block * block_length
    # accept with 2^v exp(-x^2 / 2 s^2) <= 1, which holds since s^2 <= 4^b / (2 ln 2) and x >= v 2^b
    probability = np.exp(block * math.log(2) - (x * x).astype(np.float64) / (2.0 * variance))
    uniform = (uniform_bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
    # the uniform number is surely below, surely above, or compared with more of its binary digits: exact
    accepted = uniform + 2.0**-53 <= probability * (1 - RELATIVE_ERROR)
    for i in np.flatnonzero(~accepted & (uniform < probability * (1 + RELATIVE_ERROR))):
        accepted[i] = _uniform_is_below(int(uniform_bits[i]), int(block[i]), int(x[i]), stream, variance)
    # 31 leading zeros stand for no block; x = 0 counts with one sign only
    accepted &= (block < 31) & ~(negative & (x == 0))
    return np.where(negative, -x, x)[accepted]


def _uniform_is_below(digits: int, block: int, x: int, stream: RandomStream, variance: int) -> bool:
    """Whether a uniform number is below ``2^block exp(-x^2 / 2 s^2)``.

    Args:
        digits: The first 64 binary digits of the uniform number, as an integer.
        block: Block v of the proposal.
        x: Absolute value of the proposal.
        stream: Source of further digits.
        variance: s^2.
    """
    num_digits = 64
    with localcontext() as context:
        while True:
            # compare in units of the last binary digit, with as many decimal digits as there are binary ones
            context.prec = num_digits
            bound = (Decimal(-x * x) / (2 * variance)).exp() * (1 << block) * (1 << num_digits)
            error = bound * Decimal(10) ** (8 - num_digits)
            if Decimal(digits + 1) <= bound - error:
                return True
            if Decimal(digits) >= bound + error:
                return False
            # undecided: draw 64 more digits
            digits, num_digits = (digits << 64) | int(stream.words(1)[0]), num_digits + 64
