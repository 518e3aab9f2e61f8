"""Iterated gradient steps with momentum, which transfers to other models better."""

from dataclasses import dataclass
from typing import ClassVar

from quintain.attacks.base import Attack
from quintain.attacks.gradient.iterative_fgsm import check_iterative_fgsm, iterative_fgsm
from quintain.attacks.search import Search


@dataclass(frozen=True, slots=True)
class MIFGSM(Attack):
    r"""Steepest steps of one length along the sum of the gradients so far, each divided by its own size.

    .. math::
        v_{t+1} = \mu v_t + \frac{g_t}{\|g_t\|_1}, \quad z_{t+1} = \Pi_x\big(z_t + \alpha s(v_{t+1})\big)

    Args:
        steps: Gradients per example; an example stops at its first success.
        rel_step_size: Length of a step, as a fraction of ``eps``; 1 / steps, as published, reaches the edge
            with the last one.
        decay: :math:`\mu`: the fraction of the direction so far that is kept; at 0 it is ``BIM``.

    Raises:
        SettingError: If a setting is out of range.

    Guarantee:
        Each success is allowed by the threat (float64, no tolerance) and was confirmed by a second forward
        pass on the stored point. A failure does not show robustness.

    Source: Dong et al., 2018, arXiv:1710.06081.
    """

    name: ClassVar[str] = "mi-fgsm"
    summary: ClassVar[str] = "gradient steps with momentum, which carry over to other models"
    use_for: ClassVar[str] = "the plain one: momentum"
    cost: ClassVar[str] = "{steps} gradients"
    supports: ClassVar[tuple[str, ...]] = ("linf", "l2", "mask")
    optimality_gap: ClassVar = {"l2": 0.4}

    steps: int = 10
    rel_step_size: float = 0.1
    decay: float = 1.0

    def __post_init__(self) -> None:
        check_iterative_fgsm(self.steps, self.rel_step_size, self.decay)

    def run(self, search: Search) -> None:
        """Run the steps; nothing is random."""
        iterative_fgsm(search, steps=self.steps, rel_step_size=self.rel_step_size, decay=self.decay)
