"""The fast gradient method: one step to where a linear model would be worst."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from quintain.attacks.gradient.march import March, standing_still
from quintain.attacks.loop import climb
from quintain.attacks.method import Method
from quintain.attacks.search import Answer, Search
from quintain.threats.ball import Room
from quintain.threats.l2 import L2

FAR = 1e4
"""How far along the gradient the point lies that is projected, in units of ``eps``."""


@dataclass(frozen=True, slots=True)
class FGM(Method):
    r"""One step from the clean point to where the linearised cross-entropy is largest in ball and box together.

    .. math:: z = \arg\max_{z \in ball(x)} \langle z, \nabla_x \ell(f(x), y) \rangle
        = \lim_{t \to \infty} \Pi_x\big(x + t\, \nabla_x \ell\big)

    Away from the walls of the box it is the published step: in L2 along the gradient, in L1 on the steepest coordinate. What a wall
    takes away there goes to the other coordinates. Where all coordinates move alike, as in Linf, it would be ``FGSM``.

    Guarantee:
        What it calls broken is inside the threat and was answered wrongly twice; what it does not break may still be breakable.

    Source: Goodfellow et al., 2015, arXiv:1412.6572; Miyato et al., 2017, arXiv:1605.07725.
    """

    name: ClassVar[str] = "fgm"
    serves: ClassVar[tuple[str, ...]] = ("l2", "l1")

    def pursue(self, search: Search) -> None:
        """Take the step; nothing is random."""
        threat = search.threat

        def rule(step: int, state: March, answer: Answer, clean: Tensor, room: Room) -> March:  # noqa: ARG001
            gradient = answer.gradient.nan_to_num(0.0, 0.0, 0.0)
            return March(threat.project(clean + L2(1.0).ascend(gradient, FAR * threat.eps), clean, room), gradient)

        climb(search, draw=search.draw, start=standing_still(threat), rule=rule, steps=1, loss=search.goal.log_odds)
