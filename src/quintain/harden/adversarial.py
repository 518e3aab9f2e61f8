"""Adversarial training: each step first finds the worst inputs that it can, then learns from them."""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from quintain.attacks.ascent import ascend
from quintain.attacks.step import lengths
from quintain.core.errors import SettingError
from quintain.harden.deployed import evaluating, logits
from quintain.threats.ball import Ball
from quintain.training.objective import Moment
from quintain.training.recipe import Recipe

RECIPE = Recipe(epochs=25, batch=128, rate=3e-3)


@dataclass(frozen=True, slots=True)
class PGDTraining:
    r"""The least loss of the worst inputs in the ball.

    .. math:: \min_\theta\; E_{(x, y)} \max_{z \in ball(x)} CE(f_\theta(z), y)

    The inner maximum is searched by projected gradient ascent from a random point, against the net in evaluation mode; the outer step is
    taken in training mode.

    Guarantee: none. What it resists is shown by attacks, from one side only.

    Args:
        threat: What the adversary may change.
        recipe: Epochs, batch and optimiser.
        steps: Gradients of the inner maximum.
        rate: Length of its first step, as a share of ``eps``; the steps shrink.

    Raises:
        SettingError: If a number is out of range.

    Source: Madry et al., 2018, arXiv:1706.06083; attack in evaluation mode: Pang et al., 2020, arXiv:2010.00467.
    """

    threat: Ball
    recipe: Recipe = RECIPE
    steps: int = 3
    rate: float = 0.8

    def __post_init__(self) -> None:
        if not isinstance(self.threat, Ball):
            raise SettingError(f"threat = {self.threat!r}; expected a ball, such as Linf(8/255) or parse('linf:8/255')")
        lengths(self.threat.eps, self.steps, self.rate)

    def objective(self) -> "PGDLoss":
        """The loss of a step."""
        return PGDLoss(self)


@dataclass(frozen=True, slots=True)
class PGDLoss:
    """The loss of ``PGDTraining``."""

    plan: PGDTraining

    def __call__(self, net: nn.Module, x: Tensor, y: Tensor, moment: Moment) -> Tensor:
        """The scalar loss of a batch."""
        plan = self.plan
        with evaluating(net):
            worst = ascend(lambda z: logits(net, z), x, y, plan.threat, steps=plan.steps, rate=plan.rate, seed=moment.seed, ids=moment.ids)
        return F.cross_entropy(logits(net, worst), y)
