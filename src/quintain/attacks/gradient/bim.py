"""The basic iterative method: the fast gradient step, again and again."""

from dataclasses import dataclass
from typing import ClassVar

from quintain.attacks.base import Attack
from quintain.attacks.gradient.iterative_fgsm import check_iterative_fgsm, iterative_fgsm
from quintain.attacks.search import Search


@dataclass(frozen=True, slots=True)
class BIM(Attack):
    r"""Steepest steps of one length on the cross-entropy, from the clean point.

    .. math::
        z_{t+1} = \Pi_x\big(z_t + s_t\big), \quad
        s_t = \arg\max_{\|s\| \le \alpha} \langle s, \nabla \ell(f(z_t), y) \rangle

    Args:
        steps: Gradients per example; an example stops at its first success.
        rel_step_size: Length of a step, as a fraction of ``eps``.

    Raises:
        SettingError: If a setting is not positive.

    Guarantee:
        Each success is allowed by the threat (float64, no tolerance) and was confirmed by a second forward
        pass on the stored point. A failure does not show robustness.

    Source: Kurakin et al., 2017, arXiv:1607.02533.
    """

    name: ClassVar[str] = "bim"
    strength: ClassVar[int] = 2
    summary: ClassVar[str] = "gradient steps of one length from the clean point"
    use_for: ClassVar[str] = "comparisons with older work"
    cost: ClassVar[str] = "{steps} gradients"
    supports: ClassVar[tuple[str, ...]] = ("linf", "l2", "mask")

    steps: int = 10
    rel_step_size: float = 0.25

    def __post_init__(self) -> None:
        check_iterative_fgsm(self.steps, self.rel_step_size)

    def run(self, search: Search) -> None:
        """Run the steps; nothing is random."""
        iterative_fgsm(search, steps=self.steps, rel_step_size=self.rel_step_size)
