"""Where linear bounds of what a nonlinear layer is given are narrower than intervals."""

from torch import Tensor

from quintain.certify.interval.recording import Operation, Refinement


def narrow_where_it_gains(narrow: Refinement, *, exact_box: bool) -> Refinement:
    """Return what narrows bounds as ``narrow`` does, but not where intervals are exact already.

    Args:
        narrow: Narrower bounds of an operation's values.
        exact_box: Whether the inputs are a box and nothing less.
    """

    def refine(operation: Operation, lower: Tensor, upper: Tensor, loose: Tensor) -> tuple[Tensor, Tensor]:
        if exact_box and is_one_sum(operation):
            return lower, upper
        return narrow(operation, lower, upper, loose)

    return refine


def is_one_sum(operation: Operation) -> bool:
    """Tell whether an operation follows on one layer of sums, and on nothing that is not affine.

    Intervals of it are exact over a box: each coordinate goes to its own wall.
    """
    before = operation.recording.operations
    return sum(one.mixes for one in before) <= 1 and all(one.lines is None for one in before)
