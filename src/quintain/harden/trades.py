"""TRADES: training that weighs accuracy against how far predictions change inside the ball."""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from quintain.attacks.inner_maximization import ascend_loss
from quintain.attacks.step_sizes import check_steps, cosine_step_sizes
from quintain.core.errors import SettingError
from quintain.harden.arguments import check_label_smoothing, to_supported
from quintain.harden.forward import eval_mode
from quintain.models.adapters import forward_logits
from quintain.threats.rng import example_rng
from quintain.threats.threat import Threat
from quintain.training.objective import StepContext
from quintain.training.recipe import Recipe

RECIPE = Recipe(epochs=25, batch_size=128, learning_rate=3e-3)

START_DEVIATION = 0.001
"""Standard deviation of the first points: at the clean input itself the divergence has no gradient."""


@dataclass(frozen=True, slots=True)
class TRADES:
    r"""Adversarial training that trades accuracy for predictions that stay the same inside the ball.

    .. math:: \min_\theta\; E_{(x, y)}\; CE(f_\theta(x), y)
        + \beta \max_{z \in ball(x)} KL\big(p_\theta(x)\, \|\, p_\theta(z)\big)

    with :math:`p` the softmax of the logits. The inner maximum is searched by projected gradient ascent on
    the divergence, from next to the clean point, against the net in evaluation mode.

    Guarantee: none. Attacks show what it resists, which is an upper bound only.

    Args:
        threat: The adversary's ball, or its text, such as ``"linf:4/255"``.
        recipe: Epochs, batch size and optimizer.
        beta: Weight of the divergence, from 0 up: larger is more robust and less accurate.
        steps: Gradient steps of the inner maximization.
        rel_step_size: Length of its first step, relative to ``eps``; the steps shrink.
        label_smoothing: Part of each label's weight that is spread over all classes, in [0, 1).

    Raises:
        SettingError: If a number is out of range.

    Source: Zhang et al., 2019, arXiv:1901.08573.
    """

    name: ClassVar[str] = "trades"
    summary: ClassVar[str] = (
        "accuracy on clean examples against predictions that stay the same inside the ball"
    )
    guarantee: ClassVar[str] = "none; attacks show what it resists"
    supports: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0", "mask")
    example: ClassVar[str] = "linf:4/255"
    certifier: ClassVar[str] = "interval"
    front: ClassVar[tuple[str, tuple[float, ...]]] = ("beta", (1.0, 3.0, 6.0, 12.0))

    threat: Threat
    recipe: Recipe = RECIPE
    beta: float = 6.0
    steps: int = 3
    rel_step_size: float = 0.8
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "threat", to_supported(self.threat, self.supports))
        check_steps(self.steps, self.rel_step_size)
        check_label_smoothing(self.label_smoothing)
        if not 0 <= self.beta < math.inf:
            raise SettingError(f"beta = {self.beta}; expected a finite number from 0 up, such as 6")

    def objective(self) -> "TRADESLoss":
        """Return the loss of a step."""
        return TRADESLoss(self)


@dataclass(frozen=True, slots=True)
class TRADESLoss:
    """The loss of ``TRADES``."""

    defense: TRADES

    def __call__(self, net: nn.Module, x: Tensor, y: Tensor, context: StepContext) -> Tensor:
        """Return the scalar loss of a batch."""
        defense = self.defense
        with eval_mode(net):
            clean = forward_logits(net, x).detach()
            worst = self._most_changed(net, x, clean, context)
        logits, changed = forward_logits(net, x), forward_logits(net, worst)
        loss = F.cross_entropy(logits, y, label_smoothing=defense.label_smoothing)
        return loss + defense.beta * divergence(logits, changed).mean()

    def _most_changed(self, net: nn.Module, x: Tensor, clean: Tensor, context: StepContext) -> Tensor:
        """Return points (B, *S) of the balls whose predictions differ most from ``clean`` (B, K)."""
        threat = self.defense.threat
        noise = example_rng(x, context.seed, context.ids).fold_in("trades").normal(x)
        return ascend_loss(
            lambda z: forward_logits(net, z),
            x.detach(),
            threat,
            lambda logits: divergence(clean, logits),
            start=threat.project(x.detach() + START_DEVIATION * noise, x.detach()),
            step_sizes=cosine_step_sizes(threat.eps, self.defense.steps, self.defense.rel_step_size),
        )


def divergence(logits: Tensor, others: Tensor) -> Tensor:
    r"""Return the divergence (B,) of one prediction from another, by their logits (B, K).

    .. math:: KL(p \| q) = \sum_j p_j (\log p_j - \log q_j)
    """
    return F.kl_div(others.log_softmax(1), logits.log_softmax(1), reduction="none", log_target=True).sum(1)
