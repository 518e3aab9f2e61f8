"""Where intervals of what a nonlinear layer is given are exact, so that linear bounds narrow nothing."""

from quintain.certify.interval.recording import Operation


def is_one_sum(operation: Operation) -> bool:
    """Tell whether an operation follows on one layer of sums, and on nothing that is not affine.

    Intervals of it are exact over a box: each coordinate goes to its own wall.
    """
    before = operation.recording.operations
    return sum(one.mixes for one in before) <= 1 and all(one.lines is None for one in before)
