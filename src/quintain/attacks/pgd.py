"""Projected gradient ascent."""

from dataclasses import dataclass

from torch import Tensor

from quintain.attacks.loop import climb
from quintain.attacks.outcome import AttackOutcome, Model
from quintain.attacks.step import advance, lengths
from quintain.core.errors import SettingError
from quintain.threats.ball import Ball, Room
from quintain.threats.draw import draws


@dataclass(frozen=True, slots=True)
class PGD:
    r"""Projected gradient ascent on the margin, from a random point of the threat, with falling steps.

    .. math:: z_{t+1} = \Pi_x\big(z_t + s_t\big), \quad s_t = \arg\max_{\|s\| \le \alpha_t} \langle s, \nabla_z m(f(z_t), y) \rangle

    with :math:`\Pi_x` the threat's projection, :math:`m` the margin and :math:`\alpha_t` falling from ``rate * eps`` to nearly 0.

    Args:
        steps: Gradients per example and restart; a broken example stops paying.
        rate: Length of the first step, as a share of the threat's ``eps``.
        restarts: How many random points to start from.

    Raises:
        SettingError: If a setting is not positive.

    Guarantee:
        What it calls broken is inside the threat and was answered wrongly twice; what it does not break may still be breakable.

    Source: Madry et al., 2018, arXiv:1706.06083.
    """

    steps: int = 40
    rate: float = 2.0
    restarts: int = 1

    def __post_init__(self) -> None:
        lengths(1.0, self.steps, self.rate)
        if self.restarts < 1:
            raise SettingError(f"restarts = {self.restarts}; expected at least 1")

    def __call__(self, model: Model, x: Tensor, y: Tensor, threat: Ball, *, seed: int = 0, ids: Tensor | None = None) -> AttackOutcome:
        """Attack each example of a batch; see ``Attack``."""
        length = lengths(threat.eps, self.steps, self.rate)

        def rule(step: int, z: Tensor, gradient: Tensor, clean: Tensor, room: Room) -> Tensor:
            return advance(threat, length[step], z, gradient, clean, room)

        draw = draws(x, seed, ids).at("pgd")
        return climb(model, x, y, threat, draw=draw, start=threat.sample, rule=rule, steps=self.steps, restarts=self.restarts)
