"""Projected gradient ascent."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from quintain.attacks.goal import LOSSES
from quintain.attacks.gradient.pgd_l1 import advance_l1, counts
from quintain.attacks.loop import climb
from quintain.attacks.method import Method
from quintain.attacks.search import Answer, Search
from quintain.attacks.step import advance, check_steps, lengths
from quintain.core.errors import SettingError
from quintain.core.limits import at_least
from quintain.threats.ball import Room
from quintain.threats.draw import Draw
from quintain.threats.l1 import L1


@dataclass(frozen=True, slots=True)
class PGD(Method):
    r"""Projected gradient ascent on the margin, from a random point of the threat, with falling steps.

    .. math:: z_{t+1} = \Pi_x\big(z_t + s_t\big), \quad s_t = \arg\max_{\|s\| \le \alpha_t} \langle s, \nabla_z m(f(z_t), y) \rangle

    with :math:`\Pi_x` the threat's projection, :math:`m` the loss and :math:`\alpha_t` falling from ``rate * eps`` to nearly 0. In L1,
    where the steepest step moves a single coordinate, the first steps move the steepest fifth of them, then fewer and fewer, and the
    second half of the steps goes along the gradient itself; ``APGD``, which starts in wider balls, is stronger there.

    Args:
        steps: Gradients per example and restart; a broken example stops paying.
        rate: Length of the first step, as a share of the threat's ``eps``.
        restarts: How many random points to start from.
        loss: What is ascended: ``margin``, ``ce``, ``dlr`` or ``probability``.

    Raises:
        SettingError: If a number is not positive, or there is no such loss.

    Guarantee:
        What it calls broken is inside the threat and was answered wrongly twice; what it does not break may still be breakable.

    Source: Madry et al., 2018, arXiv:1706.06083.
    """

    name: ClassVar[str] = "pgd"
    serves: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "mask", "patch", "projection", "spatial", "colour", "compose")

    steps: int = 40
    rate: float = 2.0
    restarts: int = 1
    loss: str = "margin"

    def __post_init__(self) -> None:
        check_steps(self.steps, self.rate)
        at_least(1, restarts=self.restarts)
        if self.loss not in LOSSES:
            raise SettingError(f"loss = {self.loss!r}; expected one of {', '.join(LOSSES)}")

    def pursue(self, search: Search) -> None:
        """Climb from each start."""
        threat, loss = search.threat, search.goal.loss(self.loss)
        length = lengths(threat.eps, self.steps, self.rate)
        sparse = counts(self.steps, search.x[:1].numel()) if isinstance(threat, L1) else ()

        def start(clean: Tensor, draw: Draw, room: Room) -> tuple[Tensor]:
            return (threat.sample(clean, draw, room),)

        def rule(step: int, state: tuple[Tensor], answer: Answer, clean: Tensor, room: Room) -> tuple[Tensor]:
            if isinstance(threat, L1):
                return (advance_l1(threat, length[step], sparse[step], state[0], answer.gradient, clean, room),)
            return (advance(threat, length[step], state[0], answer.gradient, clean, room),)

        for restart in range(self.restarts):
            climb(search, draw=search.draw.at(restart), start=start, rule=rule, steps=self.steps, loss=loss)
