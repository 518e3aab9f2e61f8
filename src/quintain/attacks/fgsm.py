"""The fast gradient sign method: one step."""

from dataclasses import dataclass

import torch
from torch import Tensor

from quintain.attacks.loop import climb
from quintain.attacks.outcome import AttackOutcome, Model
from quintain.attacks.step import advance
from quintain.losses.cross_entropy import log_odds
from quintain.threats.ball import Ball, Room
from quintain.threats.draw import Draw, draws


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
class FGSM:
    r"""One steepest step of length ``eps`` on the cross-entropy, from the clean point.

    .. math:: z = \Pi_x\big(x + s\big), \quad s = \arg\max_{\|s\| \le \varepsilon} \langle s, \nabla_x \ell(f(x), y) \rangle

    The step only needs the gradient's direction, which is taken from the log odds: the cross-entropy's, without its underflow.

    Guarantee:
        What it calls broken is inside the threat and was answered wrongly twice; what it does not break may still be breakable.

    Source: Goodfellow et al., 2015, arXiv:1412.6572.
    """

    def __call__(self, model: Model, x: Tensor, y: Tensor, threat: Ball, *, seed: int = 0, ids: Tensor | None = None) -> AttackOutcome:
        """Attack each example of a batch; nothing is random, so ``seed`` and ``ids`` change nothing."""

        def start(clean: Tensor, draw: Draw, room: Room) -> Tensor:  # noqa: ARG001
            return clean

        def rule(step: int, z: Tensor, gradient: Tensor, clean: Tensor, room: Room) -> Tensor:  # noqa: ARG001
            return advance(threat, threat.eps, z, gradient, clean, room)

        return climb(model, x, y, threat, draw=draws(x, seed, ids), start=start, rule=rule, steps=1, loss=log_odds)
