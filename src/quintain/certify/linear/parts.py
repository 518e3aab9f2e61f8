"""Parts of a threat by the signs of ReLUs' inputs, and what proofs of parts say of the whole."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

Path = tuple[tuple[int, int], ...]
"""Splits from the root: which ReLU, and the sign of its input."""


@dataclass(slots=True, eq=False)
class Part:
    """A part of the threat, and what is known of one margin over it.

    Args:
        rival: Which margin.
        path: The splits that make it.
        slopes, multipliers: Of all ReLUs that may be split (M,).
        bound: Lower bound of the margin, by search.
        branch: The ReLU to split next; -1 where none is left.
        rounds: How often its slopes and multipliers were searched for.
    """

    rival: int
    path: Path
    slopes: Tensor
    multipliers: Tensor
    bound: float = -torch.inf
    branch: int = -1
    rounds: int = 0


def children(part: Part) -> tuple[Part, Part]:
    """Return the two parts into which the sign of its branch's input splits a part."""

    def child(sign: int) -> Part:
        return replace(part, path=(*part.path, (part.branch, sign)), branch=-1, rounds=0)

    return child(1), child(-1)


def are_proven(bounds: Tensor) -> Tensor:
    """Return which lower bounds of margins prove them: those above 0; what is not finite proves nothing."""
    return (bounds > 0) & bounds.isfinite()


def covers(paths: Sequence[tuple[tuple[Hashable, int], ...]]) -> bool:
    """Tell whether parts make up the whole: each split has both sides, and nothing else is there."""
    if any(not path for path in paths):
        return len(paths) == 1
    if len({path[0][0] for path in paths}) != 1:
        return False
    return all(covers([path[1:] for path in paths if path[0][1] == sign]) for sign in (1, -1))
