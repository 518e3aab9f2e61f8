"""Nesterov's momentum: the gradient is asked for where the momentum leads."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from quintain.attacks.gradient.march import carried, require_march
from quintain.attacks.loop import climb
from quintain.attacks.method import Method
from quintain.attacks.search import Answer, Search
from quintain.attacks.step import advance
from quintain.threats.ball import Room
from quintain.threats.draw import Draw


class Ahead(NamedTuple):
    """Where the gradient is asked for ``z``, the points ``at`` which the walk is, and its direction so far (n, *S) each."""

    z: Tensor
    at: Tensor
    velocity: Tensor


@dataclass(frozen=True, slots=True)
class NIFGSM(Method):
    r"""``MIFGSM`` whose gradients are those at the point that the momentum alone would lead to.

    .. math:: g_t = \nabla \ell\big(f(\Pi_x(z_t + \alpha \mu v_t)), y\big), \quad v_{t+1} = \mu v_t + \frac{g_t}{mean|g_t|}, \quad
        z_{t+1} = \Pi_x\big(z_t + \alpha\, sign\, v_{t+1}\big)

    As in the authors' code, a gradient is divided by the mean of its coordinates' sizes, so that looking ahead is a step of about
    :math:`\alpha` and not one that shrinks with the number of pixels. Every point that is asked about is allowed, and is judged.

    Args:
        steps: Gradients per example; a broken example stops paying.
        rate: Length of a step, as a share of ``eps``.
        decay: :math:`\mu`: the share of the direction so far that is kept.

    Raises:
        SettingError: If a setting is out of range.

    Guarantee:
        What it calls broken is inside the threat and was answered wrongly twice; what it does not break may still be breakable.

    Source: Lin et al., 2020, arXiv:1908.06281.
    """

    name: ClassVar[str] = "ni-fgsm"
    serves: ClassVar[tuple[str, ...]] = ("linf", "mask")

    steps: int = 10
    rate: float = 0.1
    decay: float = 1.0

    def __post_init__(self) -> None:
        require_march(self.steps, self.rate, self.decay)

    def pursue(self, search: Search) -> None:
        """Walk; the last question is about the last point itself."""
        threat, length = search.threat, self.rate * search.threat.eps

        def start(clean: Tensor, draw: Draw, room: Room) -> Ahead:  # noqa: ARG001
            return Ahead(clean, clean, torch.zeros_like(clean))

        def rule(step: int, state: Ahead, answer: Answer, clean: Tensor, room: Room) -> Ahead:
            velocity = carried(state.velocity, answer.gradient, self.decay)
            at = advance(threat, length, state.at, velocity, clean, room)
            ahead = at if step == self.steps - 1 else threat.project(at + length * self.decay * velocity, clean, room)
            return Ahead(ahead, at, velocity)

        climb(search, draw=search.draw, start=start, rule=rule, steps=self.steps, loss=search.goal.log_odds)
