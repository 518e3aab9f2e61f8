"""A cost model of the ways to compute a norm: the choice depends on shapes alone, so that runs repeat.

The unit of cost is one multiplication of a ghost norm; ``python -m benchmarks dp.cost`` measures the
constants and how far the choice is from the best.
"""

MATERIALIZE_FLOP = 0.7
"""Cost of a multiplication in the products that materialize gradients."""

MEMORY_ROUNDTRIP = 8.0
"""Cost of writing a number to memory and reading it again."""

MAX_PATCH_POSITIONS = 100
"""Positions of a convolution up to which unfolded patches are cheaper than a folded call."""

MIN_FOLDED_CHANNELS = 8
"""Input channels below which patches are cheaper: folded calls pad to as many."""


def ghost_norm_is_cheaper(positions: int, inputs: int, outputs: int, terms: float | None = None) -> bool:
    r"""Whether an example's ghost norm is cheaper to compute than its gradient.

    The ghost norm is :math:`\langle AA^\top, GG^\top \rangle`, the gradient :math:`G^\top A`.

    Args:
        positions: Number of positions that are summed over.
        inputs, outputs: Sides of the gradient.
        terms: Multiplications for each entry of :math:`AA^\top`, if not one per input.
    """
    # ghost: T^2 (inputs + outputs); materialized: T inputs outputs; both with memory traffic. Bu et al.,
    # arXiv:2205.10683, choose by 2 T^2 < p d; here the constants are measured
    return (
        positions**2 * ((inputs if terms is None else terms) + outputs + MEMORY_ROUNDTRIP)
        < (MATERIALIZE_FLOP * positions + MEMORY_ROUNDTRIP) * inputs * outputs
    )


def patches_are_cheaper(positions: int, channels: int, taps: int) -> bool:
    """Whether a convolution's gradients are cheaper to materialize from patches than by a folded call."""
    return positions <= MAX_PATCH_POSITIONS or channels < MIN_FOLDED_CHANNELS or taps == 1
