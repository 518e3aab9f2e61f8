"""What an attack is, and what it returns."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from quintain.threats.ball import Ball

Model = Callable[[Tensor], Tensor]
"""Anything that gives logits (B, K), K at least 2, for inputs (B, *S): a ``Classifier``, a smoothed model, a plain function."""


@dataclass(frozen=True, slots=True, eq=False)
class AttackOutcome:
    """What was found for each example of a batch; an example is broken, in error, or neither.

    Args:
        adversarial: The worst allowed image found (B, *S), the clean one included; the breaking one where broken.
        broken: Whether that image, asked again as it is stored, is inside the threat and answered as the attack wants (B,) bool.
        size: Size of the change (B,) float64, as the threat measures it; 0 where the clean answer is wrong, infinite where unbroken.
        forwards: How often the model saw the example (B,) long.
        backwards: How many gradients it was asked for (B,) long.
        error: Whether the model answered with NaN on the way (B,) bool: no claim is made about such an example.
        by: What broke each example, B names; empty where unbroken, ``unchanged`` where the clean answer is wrong.
        found: ``forwards`` at the first allowed break (B,) long; 0 where unbroken.
        params: For a family, the parameters (B, P) that ``adversarial`` is rendered from.
    """

    adversarial: Tensor
    broken: Tensor
    size: Tensor
    forwards: Tensor
    backwards: Tensor
    error: Tensor
    by: tuple[str, ...]
    found: Tensor
    params: Tensor | None = None


class Attack(Protocol):
    """A search for allowed points that are answered wrongly: a frozen value of its settings, without model, device or state."""

    def __call__(
        self,
        model: Model,
        x: Tensor,
        y: Tensor,
        threat: Ball,
        *,
        seed: int = 0,
        ids: Tensor | None = None,
        targets: Tensor | None = None,
        queries: int | None = None,
    ) -> AttackOutcome:
        """Attack each example of a batch.

        Args:
            model: Gives logits (B, K); it is asked for values and input gradients only and is left as it was.
            x: Inputs (B, *S) in the threat's box.
            y: True classes (B,) long.
            threat: What may be changed.
            seed: Every random number comes from it, the attack's name, the restart and the example's id.
            ids: The examples' numbers in their data set (B,); 0, 1, 2 ... if not given.
            targets: Classes to be answered (B,) long, none of them the true one; any wrong class if not given.
            queries: How often the model may be asked about an example, the final check included; no limit if not given.
        """
