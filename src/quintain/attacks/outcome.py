"""What an attack asks, and what it returns."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

Model = Callable[[Tensor], Tensor]
"""Anything that gives logits (B, K), K at least 2, for inputs (B, *S): a ``Classifier``, a smoothed model, a plain function."""


@dataclass(frozen=True, slots=True, eq=False)
class AttackOutcome:
    """What was found for each example of a batch; an example is broken, in error, or neither.

    Args:
        adversarial: The worst allowed image found (B, *S), the clean one included; the breaking one where
            broken.
        success: Whether that image, asked again as it is stored, is inside the threat and answered as the
            attack wants (B,) bool.
        size: Size of the change (B,) float64, as the threat measures it; 0 where the clean answer is wrong,
            infinite where unbroken.
        forwards: How often the model saw the example (B,) long.
        backwards: How many gradients it was asked for (B,) long.
        error: Whether the model answered with NaN on the way (B,) bool: no claim is made about such an
            example.
        found_by: What broke each example, B names; empty where unbroken, ``unchanged`` where the clean answer
            is wrong.
        queries_to_success: ``forwards`` at the first allowed break (B,) long; 0 where unbroken.
        params: For a family, the parameters (B, P) that ``adversarial`` is rendered from.
    """

    adversarial: Tensor
    success: Tensor
    size: Tensor
    forwards: Tensor
    backwards: Tensor
    error: Tensor
    found_by: tuple[str, ...]
    queries_to_success: Tensor
    params: Tensor | None = None
