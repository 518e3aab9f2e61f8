"""The fast gradient method: one step along the gradient itself."""

from dataclasses import dataclass
from typing import ClassVar

from quintain.attacks.gradient.march import march
from quintain.attacks.method import Method
from quintain.attacks.search import Search


@dataclass(frozen=True, slots=True)
class FGM(Method):
    r"""One steepest step of length ``eps`` on the cross-entropy, from the clean point, in a norm that weighs the gradient's coordinates.

    .. math:: z = \Pi_x\big(x + s\big), \quad s = \arg\max_{\|s\| \le \varepsilon} \langle s, \nabla_x \ell(f(x), y) \rangle

    In L2 the step is along the gradient, in L1 all of it is on the steepest coordinate, or on as many as the box asks for. Where every
    coordinate moves alike, as in Linf, the step is that of ``FGSM``.

    Guarantee:
        What it calls broken is inside the threat and was answered wrongly twice; what it does not break may still be breakable.

    Source: Goodfellow et al., 2015, arXiv:1412.6572; Miyato et al., 2016, arXiv:1605.07725.
    """

    name: ClassVar[str] = "fgm"
    serves: ClassVar[tuple[str, ...]] = ("l2", "l1")

    def pursue(self, search: Search) -> None:
        """Take the step; nothing is random."""
        march(search, steps=1, rate=1.0)
