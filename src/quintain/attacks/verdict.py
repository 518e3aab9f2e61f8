"""The one function that says whether a model is broken at a point."""

from torch import Tensor

from quintain.threats.ball import Ball, contains


def fooled(logits: Tensor, y: Tensor) -> Tensor:
    """Whether the answer is wrong (B,): the first of the largest logits is not the true class; NaN is no answer."""
    return (logits.argmax(1) != y) & ~logits.isnan().any(1)


def breaks(logits: Tensor, z: Tensor, x: Tensor, y: Tensor, threat: Ball) -> Tensor:
    """Whether ``z`` breaks the model at ``x`` (B,): it is answered wrongly and inside the threat, exactly, in float64.

    Args:
        logits: The model's answer (B, K) to ``z`` as it is stored.
        z: Candidate points (B, *S).
        x: Clean inputs (B, *S).
        y: True classes (B,).
        threat: What may be changed.
    """
    return fooled(logits, y) & contains(threat, z, x)
