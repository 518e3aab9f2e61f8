"""The fast gradient sign method from a random start."""

from dataclasses import dataclass
from typing import ClassVar

from quintain.attacks.gradient.march import march, require_march
from quintain.attacks.method import Method
from quintain.attacks.search import Search


@dataclass(frozen=True, slots=True)
class RSFGSM(Method):
    r"""One signed step of ``rate * eps`` from a uniform point of the ball, projected back into it.

    .. math:: z = \Pi_x\big(u + rate \cdot \varepsilon\, sign \nabla \ell(f(u), y)\big), \quad u \sim U(ball(x))

    Args:
        rate: Length of the step, as a share of ``eps``.

    Raises:
        SettingError: If it is not positive.

    Guarantee:
        What it calls broken is inside the threat and was answered wrongly twice; what it does not break may still be breakable.

    Source: Wong et al., 2020, arXiv:2001.03994.
    """

    name: ClassVar[str] = "rs-fgsm"
    serves: ClassVar[tuple[str, ...]] = ("linf", "mask")

    rate: float = 1.25

    def __post_init__(self) -> None:
        require_march(1, self.rate)

    def pursue(self, search: Search) -> None:
        """Take the step from the random point."""
        march(search, steps=1, rate=self.rate, begin=search.threat.sample)
