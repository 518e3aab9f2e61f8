"""The fast gradient sign method from a random start (RS-FGSM)."""

from dataclasses import dataclass
from typing import ClassVar

from quintain.attacks.base import Attack
from quintain.attacks.gradient.iterative_fgsm import check_iterative_fgsm, iterative_fgsm
from quintain.attacks.search import Search


@dataclass(frozen=True, slots=True)
class RSFGSM(Attack):
    r"""One signed step of ``rel_step_size * eps`` from a uniform point of the ball, projected back into it.

    .. math::
        z = \Pi_x\big(u + \alpha \varepsilon\, sign \nabla \ell(f(u), y)\big), \quad u \sim U(ball(x))

    with :math:`\alpha` the ``rel_step_size``.

    Args:
        rel_step_size: Length of the step, as a fraction of ``eps``.

    Raises:
        SettingError: If ``rel_step_size`` is not positive.

    Guarantee:
        Each success is allowed by the threat (float64, no tolerance) and was confirmed by a second forward
        pass on the stored point. A failure does not show robustness.

    Source: Wong et al., 2020, arXiv:2001.03994.
    """

    name: ClassVar[str] = "rs-fgsm"
    summary: ClassVar[str] = "one signed gradient step from a random start"
    use_for: ClassVar[str] = "the step of fast adversarial training: a random start, then one gradient"
    cost: ClassVar[str] = "one gradient"
    supports: ClassVar[tuple[str, ...]] = ("linf", "mask")
    optimality_gap: ClassVar = {"any": 0.3}

    rel_step_size: float = 1.25

    def __post_init__(self) -> None:
        check_iterative_fgsm(1, self.rel_step_size)

    def run(self, search: Search) -> None:
        """Take the step from the random point."""
        iterative_fgsm(search, steps=1, rel_step_size=self.rel_step_size, init=search.threat.sample)
