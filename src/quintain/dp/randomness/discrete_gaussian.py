"""Exact samples of the discrete Gaussian distribution, made of random bits alone."""

import math
from decimal import Decimal, localcontext

import numpy as np
import numpy.typing as npt

from quintain.dp.randomness.stream import RandomStream

Integers = npt.NDArray[np.int64]

BLOCK_LENGTH = 1 << 24
"""Length of one block of proposals; it allows noise of a standard deviation of up to about 2^23.76."""

VARIANCE = 203_036_000_000_000
"""Variance of the noise, in squared grid steps: below ``BLOCK_LENGTH**2 / (2 * ln 2)``."""

RELATIVE_ERROR = 2.0**-40
"""Bound on the relative error of an acceptance probability in float64, far above the actual error."""

MAX_PROPOSALS = 1 << 16
"""Proposals of one round at most, which bounds the memory."""


def discrete_gaussian(count: int, stream: RandomStream) -> Integers:
    r"""Return ``count`` independent integers with the discrete Gaussian distribution.

    .. math:: \Pr[X = x] \propto e^{-x^2 / 2 s^2}, \qquad s^2 = \mathtt{VARIANCE}

    Rejection sampling, as in the discrete case of Canonne, Kamath and Steinke. A proposal x is made of bits
    alone: a sign, a block v with probability 2^-(v+1), and a uniform offset in the block. It is accepted with
    probability :math:`2^v e^{-x^2 / 2 s^2} \le 1`. To decide, a uniform real number is compared with that
    probability: in floating point where the two differ by more than all errors, else with as many binary
    digits as are needed.

    Args:
        count: Number of integers.
        stream: Source of the random bits.

    Guarantee: exact, except that an x of 31 blocks or more (with a probability below 2^-990 each) is never
    proposed. The run time depends on the random bits, not on data.

    Source: Canonne, Kamath, Steinke, 2020, arXiv:2004.00010.
    """
    samples = np.empty(count, dtype=np.int64)
    filled = 0
    while filled < count:
        # about half of the proposals are accepted
        num_proposals = min(2 * (count - filled) + 64, MAX_PROPOSALS)
        accepted = _rejection_round(num_proposals, stream)[: count - filled]
        samples[filled : filled + len(accepted)] = accepted
        filled += len(accepted)
    return samples


def _rejection_round(num_proposals: int, stream: RandomStream) -> Integers:
    """Return those of ``num_proposals`` proposals that are accepted."""
    # one word for each proposal: bits 0-23 are the offset, the number of leading zeros in bits 32-62 is the
    # block (geometric), bit 63 is the sign; another word for each uniform number
    words = stream.words(2 * num_proposals)
    proposal_bits, uniform_bits = words[:num_proposals], words[num_proposals:]
    offset = (proposal_bits & np.uint64(BLOCK_LENGTH - 1)).astype(np.int64)
    block = 31 - np.frexp(((proposal_bits >> np.uint64(32)) & np.uint64((1 << 31) - 1)).astype(np.float64))[
        1
    ].astype(np.int64)
    negative = (proposal_bits >> np.uint64(63)).astype(bool)
    x = offset + block * BLOCK_LENGTH
    # accept with 2^v exp(-x^2 / 2 s^2) <= 1, which holds since s^2 <= 2^48 / (2 ln 2) and x >= v 2^24
    probability = np.exp(block * math.log(2) - (x * x).astype(np.float64) / (2.0 * VARIANCE))
    uniform = (uniform_bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
    # the uniform number is surely below, surely above, or compared with more of its binary digits: exact
    accepted = uniform + 2.0**-53 <= probability * (1 - RELATIVE_ERROR)
    for i in np.flatnonzero(~accepted & (uniform < probability * (1 + RELATIVE_ERROR))):
        accepted[i] = _uniform_is_below(int(uniform_bits[i]), int(block[i]), int(x[i]), stream)
    # 31 leading zeros stand for no block; x = 0 counts with one sign only
    accepted &= (block < 31) & ~(negative & (x == 0))
    return np.where(negative, -x, x)[accepted]


def _uniform_is_below(digits: int, block: int, x: int, stream: RandomStream) -> bool:
    """Whether a uniform number is below ``2^block exp(-x^2 / 2 s^2)``.

    Args:
        digits: The first 64 binary digits of the uniform number, as an integer.
        block: Block v of the proposal.
        x: Absolute value of the proposal.
        stream: Source of further digits.
    """
    num_digits = 64
    with localcontext() as context:
        while True:
            # compare in units of the last binary digit, with as many decimal digits as there are binary ones
            context.prec = num_digits
            bound = (Decimal(-x * x) / (2 * VARIANCE)).exp() * (1 << block) * (1 << num_digits)
            error = bound * Decimal(10) ** (8 - num_digits)
            if Decimal(digits + 1) <= bound - error:
                return True
            if Decimal(digits) >= bound + error:
                return False
            # undecided: draw 64 more digits
            digits, num_digits = (digits << 64) | int(stream.words(1)[0]), num_digits + 64
