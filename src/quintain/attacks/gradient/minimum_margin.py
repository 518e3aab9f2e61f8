"""The minimum-margin attack."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from quintain.attacks.gradient.apgd import guides
from quintain.attacks.loop import climb
from quintain.attacks.method import Method
from quintain.attacks.search import Answer, Search
from quintain.attacks.step import advance, check_steps, lengths
from quintain.core.limits import at_least
from quintain.threats.ball import Room
from quintain.threats.draw import Draw

RATE = 2.0
"""Length of the first step, as a share of ``eps``."""


@dataclass(frozen=True, slots=True)
class MinimumMargin(Method):
    r"""A short projected gradient ascent towards each of the nearest rivals, on the lead rescaled by the spread of the logits.

    .. math:: \ell_t = \frac{z_t - z_y}{z_{\pi_1} - (z_{\pi_3} + z_{\pi_4}) / 2}, \quad t \text{ among the largest wrong logits at } x

    Few rivals are ever the class that an example is broken to, so that the nearest three find nearly what all would find.

    Args:
        steps: Gradients per example and rival; a broken example stops paying.
        targets: How many rivals, at most K - 1.

    Raises:
        SettingError: If a setting is not positive.

    Guarantee:
        What it calls broken is inside the threat and was answered wrongly twice; what it does not break may still be breakable.

    Source: Gao et al., 2022, arXiv:2206.07314.
    """

    name: ClassVar[str] = "mm"

    steps: int = 20
    targets: int = 3

    def __post_init__(self) -> None:
        check_steps(self.steps, RATE)
        at_least(1, targets=self.targets)

    def pursue(self, search: Search) -> None:
        """Climb towards each rival."""
        threat = search.threat
        length = lengths(threat.eps, self.steps, RATE)

        def start(clean: Tensor, draw: Draw, room: Room) -> tuple[Tensor]:
            return (threat.sample(clean, draw, room),)

        def rule(step: int, state: tuple[Tensor], answer: Answer, clean: Tensor, room: Room) -> tuple[Tensor]:
            return (advance(threat, length[step], state[0], answer.gradient, clean, room),)

        for place, loss in guides(search, "dlr", self.targets):
            climb(search, draw=search.draw.at(place), start=start, rule=rule, steps=self.steps, loss=loss)
