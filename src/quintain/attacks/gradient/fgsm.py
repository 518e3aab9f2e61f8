"""The fast gradient sign method: one step."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from quintain.attacks.loop import climb
from quintain.attacks.method import Method
from quintain.attacks.search import Answer, Search
from quintain.attacks.step import advance
from quintain.threats.ball import Room
from quintain.threats.draw import Draw
from quintain.threats.family import identity


def fgsm_attack(image: Tensor, epsilon: float, data_grad: Tensor) -> Tensor:
    r"""One signed step along a gradient that is already known, kept in [0, 1].

    .. math:: clip(x + \varepsilon\, sign(g),\; 0,\; 1)

    Args:
        image: Inputs of any shape, in [0, 1].
        epsilon: Size of the step, in the units of the data.
        data_grad: The loss' gradient at ``image``, of the same shape.

    Source: Goodfellow et al., 2015, arXiv:1412.6572.
    """
    return torch.clamp(image + epsilon * data_grad.sign(), 0, 1)


@dataclass(frozen=True, slots=True)
class FGSM(Method):
    r"""One steepest step of length ``eps`` on the cross-entropy, from the clean point.

    .. math:: z = \Pi_x\big(x + s\big), \quad s = \arg\max_{\|s\| \le \varepsilon} \langle s, \nabla_x \ell(f(x), y) \rangle

    The step only needs the gradient's direction, which is taken from the log odds: the cross-entropy's, without its underflow.

    Guarantee:
        What it calls broken is inside the threat and was answered wrongly twice; what it does not break may still be breakable.

    Source: Goodfellow et al., 2015, arXiv:1412.6572.
    """

    name: ClassVar[str] = "fgsm"
    serves: ClassVar[tuple[str, ...]] = ("linf", "l2", "mask", "projection", "colour")

    def pursue(self, search: Search) -> None:
        """Take the step; nothing is random."""
        threat = search.threat

        def start(clean: Tensor, draw: Draw, room: Room) -> tuple[Tensor]:  # noqa: ARG001
            return (identity(threat, clean),)

        def rule(step: int, state: tuple[Tensor], answer: Answer, clean: Tensor, room: Room) -> tuple[Tensor]:  # noqa: ARG001
            return (advance(threat, threat.eps, state[0], answer.gradient, clean, room),)

        climb(search, draw=search.draw, start=start, rule=rule, steps=1, loss=search.goal.log_odds)
