"""The basic iterative method: the fast gradient step, again and again."""

from dataclasses import dataclass
from typing import ClassVar

from quintain.attacks.gradient.march import march, require_march
from quintain.attacks.method import Method
from quintain.attacks.search import Search


@dataclass(frozen=True, slots=True)
class BIM(Method):
    r"""Steepest steps of one length on the cross-entropy, from the clean point.

    .. math:: z_{t+1} = \Pi_x\big(z_t + s_t\big), \quad s_t = \arg\max_{\|s\| \le \alpha} \langle s, \nabla \ell(f(z_t), y) \rangle

    Args:
        steps: Gradients per example; a broken example stops paying.
        rate: Length of a step, as a share of ``eps``.

    Raises:
        SettingError: If a setting is not positive.

    Guarantee:
        What it calls broken is inside the threat and was answered wrongly twice; what it does not break may still be breakable.

    Source: Kurakin et al., 2017, arXiv:1607.02533.
    """

    name: ClassVar[str] = "bim"
    serves: ClassVar[tuple[str, ...]] = ("linf", "l2", "mask")

    steps: int = 10
    rate: float = 0.25

    def __post_init__(self) -> None:
        require_march(self.steps, self.rate)

    def pursue(self, search: Search) -> None:
        """Walk; nothing is random."""
        march(search, steps=self.steps, rate=self.rate)
