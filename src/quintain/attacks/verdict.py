"""The one function that says whether a model is broken at a point."""

from torch import Tensor

from quintain.threats.ball import Ball
from quintain.threats.family import allowed


def breaks(reached: Tensor, z: Tensor, x: Tensor, threat: Ball) -> Tensor:
    """Whether ``z`` breaks the model at ``x`` (B,): the answer is what the attack wants, and the point is allowed, exactly, in float64.

    Args:
        reached: Whether the answer to ``z``, as it is stored, is what the attack wants (B,), as ``Goal.reached`` says.
        z: The adversary's points: images (B, *S), or a family's parameters (B, P).
        x: Clean inputs (B, *S).
        threat: What may be changed.
    """
    return reached & allowed(threat, z, x)
