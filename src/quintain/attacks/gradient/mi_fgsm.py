"""Iterated gradient steps with momentum, which carries over to other models better than the gradient alone."""

from dataclasses import dataclass
from typing import ClassVar

from quintain.attacks.gradient.march import march, require_march
from quintain.attacks.method import Method
from quintain.attacks.search import Search


@dataclass(frozen=True, slots=True)
class MIFGSM(Method):
    r"""Steepest steps of one length along the sum of the gradients so far, each divided by its own size.

    .. math:: v_{t+1} = \mu v_t + \frac{g_t}{\|g_t\|_1}, \quad z_{t+1} = \Pi_x\big(z_t + \alpha s(v_{t+1})\big)

    Args:
        steps: Gradients per example; a broken example stops paying.
        rate: Length of a step, as a share of ``eps``; 1 / steps, as published, reaches the edge with the last one.
        decay: :math:`\mu`: the share of the direction so far that is kept; at 0 it is ``BIM``.

    Raises:
        SettingError: If a setting is out of range.

    Guarantee:
        What it calls broken is inside the threat and was answered wrongly twice; what it does not break may still be breakable.

    Source: Dong et al., 2018, arXiv:1710.06081.
    """

    name: ClassVar[str] = "mi-fgsm"
    serves: ClassVar[tuple[str, ...]] = ("linf", "l2", "mask")

    steps: int = 10
    rate: float = 0.1
    decay: float = 1.0

    def __post_init__(self) -> None:
        require_march(self.steps, self.rate, self.decay)

    def pursue(self, search: Search) -> None:
        """Walk; nothing is random."""
        march(search, steps=self.steps, rate=self.rate, decay=self.decay)
