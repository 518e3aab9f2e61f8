"""The fast gradient sign method: one step."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from quintain.attacks.base import Attack
from quintain.attacks.gradient.iterative_fgsm import iterative_fgsm
from quintain.attacks.search import Search


def fgsm_attack(image: Tensor, epsilon: float, data_grad: Tensor) -> Tensor:
    r"""One signed step along a gradient that is already known, kept in [0, 1].

    .. math:: clip(x + \varepsilon\, sign(g),\; 0,\; 1)

    Args:
        image: Inputs of any shape, in [0, 1].
        epsilon: Size of the step, in the units of the data.
        data_grad: The loss' gradient at ``image``, of the same shape.

    Source: Goodfellow et al., 2015, arXiv:1412.6572.
    """
    return torch.clamp(image + epsilon * data_grad.sign(), 0, 1)


@dataclass(frozen=True, slots=True)
class FGSM(Attack):
    r"""One step of ``eps`` along the sign of the cross-entropy's gradient, from the clean point.

    .. math:: z = \Pi_x\big(x + \varepsilon\, sign \nabla_x \ell(f(x), y)\big)

    The gradient is that of the log odds: it has the sign of the cross-entropy's, and does not underflow where
    the model is sure. For L2 and L1 there is ``FGM``.

    Guarantee:
        Each success is allowed by the threat (float64, no tolerance) and was confirmed by a second forward
        pass on the stored point. A failure does not show robustness.

    Source: Goodfellow et al., 2015, arXiv:1412.6572.
    """

    name: ClassVar[str] = "fgsm"
    strength: ClassVar[int] = 1
    summary: ClassVar[str] = "one signed gradient step: fast and weak, a smoke test"
    use_for: ClassVar[str] = "a smoke test; the reference that many steps must beat"
    cost: ClassVar[str] = "one gradient"
    supports: ClassVar[tuple[str, ...]] = ("linf", "mask", "light", "color")

    def run(self, search: Search) -> None:
        """Take the step; nothing is random."""
        iterative_fgsm(search, steps=1, rel_step_size=1.0)
