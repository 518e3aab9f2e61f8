"""What PGD does in L1, where the steepest step would move one coordinate at a time."""

from torch import Tensor

from quintain.attacks.gradient.sparse_l1 import advance_sparsely
from quintain.threats.ball import Room
from quintain.threats.l1 import L1
from quintain.threats.l2 import L2

DENSE = 0.2
"""The share of the coordinates that the first step moves."""

FIRST = 0.5
"""The share of the steps that are sparse."""


def counts(steps: int, coordinates: int) -> tuple[int, ...]:
    """How many coordinates each step moves: a share ``DENSE`` at first, one halfway, by equal factors; 0 where all move."""
    sparse = max(1, round(FIRST * steps))
    most = max(1.0, DENSE * coordinates)
    return tuple(round(most ** (1 - step / max(1, sparse - 1))) if step < sparse else 0 for step in range(steps))


def advance_l1(threat: L1, length: float, count: int, z: Tensor, gradient: Tensor, x: Tensor, room: Room) -> Tensor:
    """One step of a length on the ``count`` steepest coordinates, or along the gradient itself, projected on ball and box.

    Sparse steps find which coordinates pay; those along the gradient, which end near the optimum of a linear model, how much of each.
    """
    if count:
        return advance_sparsely(threat, length, count, z, gradient, x, room)
    return threat.project(z + L2(1.0).ascend(gradient.nan_to_num(0.0, 0.0, 0.0), length), x, room)
