"""What an attack calls, and what it returns."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

Model = Callable[[Tensor], Tensor]
"""Anything that gives logits (B, K), K at least 2, for inputs (B, *S): a ``Classifier``, a smoothed model, a
plain function.
"""


@dataclass(frozen=True, slots=True, eq=False)
class AttackOutcome:
    """The result of an attack on each example of a batch; an example is broken, in error, or neither.

    Args:
        adversarial: The allowed image of the largest margin found (B, *S), the clean one included; the
            successful one where there is one.
        success: Whether that image, as it is stored, is allowed by the threat and was confirmed as
            adversarial (B,) bool.
        size: Size of the perturbation (B,) float64, as the threat measures it; 0 where the clean prediction
            is wrong, infinite without success.
        forwards: Forward passes (B,) long.
        backwards: Backward passes (B,) long.
        error: Whether the model returned NaN on the way (B,) bool: no claim is made about such an example.
        found_by: The attack that succeeded on each example, B names; empty without success, ``unchanged``
            where the clean prediction is wrong.
        queries_to_success: ``forwards`` at the first success (B,) long; 0 without one.
        params: For a parametric threat, the parameters (B, P) that ``adversarial`` is rendered from.
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
