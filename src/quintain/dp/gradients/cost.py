"""What the ways to a norm cost, measured: which one a layer takes depends on its shape alone, so that a run can be repeated.

A ghost norm multiplies positions by positions, a built gradient inputs by outputs; the unit is one multiplication of a ghost norm, and
``python -m benchmarks dp.cost`` measures the constants and how far the choice is from the best.
"""

BUILT = 0.7
"""Cost of a multiplication in the products that build gradients."""

READ = 8.0
"""Cost of writing a number and reading it again."""

MAP = 100
"""Positions of a convolution up to which patches are cheaper than a folded call."""

CHANNELS = 8
"""Input channels below which patches are cheaper: folded calls fill up to as many."""


def ghost(positions: int, inputs: int, outputs: int, terms: float | None = None) -> bool:
    r"""Whether :math:`\langle AA^\top, GG^\top \rangle` is cheaper than the gradient itself, :math:`G^\top A`, of one example.

    Args:
        positions: Those that are summed over.
        inputs, outputs: Sides of the gradient.
        terms: Multiplications for each number of :math:`AA^\top`, if not one an input.
    """
    return positions**2 * ((inputs if terms is None else terms) + outputs + READ) < (BUILT * positions + READ) * inputs * outputs


def patches(positions: int, channels: int, taps: int) -> bool:
    """Whether a convolution's gradients are built faster from patches than by a folded call, which wants many positions and channels."""
    return positions <= MAP or channels < CHANNELS or taps == 1
