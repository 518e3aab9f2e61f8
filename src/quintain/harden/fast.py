"""Fast adversarial training: one gradient step from strong noise, N-FGSM."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quintain.attacks.input_gradient import input_gradient
from quintain.core.errors import SettingError
from quintain.harden.arguments import check_label_smoothing
from quintain.harden.forward import eval_mode
from quintain.losses.cross_entropy import log_odds
from quintain.models.adapters import forward_logits
from quintain.threats.arguments import to_threat
from quintain.threats.linf import Linf
from quintain.threats.rng import example_rng
from quintain.training.objective import StepContext
from quintain.training.recipe import Recipe

RECIPE = Recipe(epochs=25, batch_size=128, learning_rate=3e-3)


@dataclass(frozen=True, slots=True)
class FastTraining:
    r"""Adversarial training with a single gradient step, taken from a strongly noisy point (N-FGSM).

    .. math:: z = x + \eta + \alpha\varepsilon\, sign \nabla CE(f_\theta(x + \eta), y), \qquad
        \eta \sim U(-k\varepsilon, k\varepsilon)^d

    clipped to the data box, not to the ball: points outside the ball are what keeps such training from
    catastrophic overfitting, after which one step breaks nothing and several break all. ``fit`` looks for
    that on the way, and goes back to the last good weights.

    Guarantee: none. Attacks show what it resists, which is an upper bound only.

    Args:
        threat: ``Linf``, or its text, such as ``"linf:4/255"``.
        recipe: Epochs, batch size and optimizer.
        noise: Half width of the noise, k, relative to ``eps``.
        rel_step_size: Length of the step, relative to ``eps``.
        label_smoothing: Part of each label's weight that is spread over all classes, in [0, 1).

    Raises:
        SettingError: If a number is out of range.

    Source: de Jorge et al., 2022, arXiv:2202.01181.
    """

    name: ClassVar[str] = "fast-at"
    summary: ClassVar[str] = "adversarial training with one gradient step from a noisy point (N-FGSM)"
    guarantee: ClassVar[str] = "none; attacks show what it resists"
    supports: ClassVar[tuple[str, ...]] = ("linf",)
    example: ClassVar[str] = "linf:4/255"
    certifier: ClassVar[str] = "interval"
    front: ClassVar[tuple[str, tuple[float, ...]]] = ("eps ratio", (0.5, 0.75, 1.0, 1.25))
    single_step: ClassVar[bool] = True

    threat: Linf
    recipe: Recipe = RECIPE
    noise: float = 2.0
    rel_step_size: float = 1.0
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "threat", to_threat(self.threat))
        if not isinstance(self.threat, Linf):
            raise SettingError(f"the step of N-FGSM is one in Linf; got {self.threat!r}")
        if not (0 <= self.noise < math.inf and 0 < self.rel_step_size < math.inf):
            raise SettingError(
                f"noise = {self.noise}, rel_step_size = {self.rel_step_size}; expected noise from 0 up and a "
                "positive step, both relative to eps, such as 2 and 1"
            )
        check_label_smoothing(self.label_smoothing)

    def objective(self) -> "FastLoss":
        """Return the loss of a step."""
        return FastLoss(self)


@dataclass(frozen=True, slots=True)
class FastLoss:
    """The loss of ``FastTraining``."""

    defense: FastTraining

    def __call__(self, net: nn.Module, x: Tensor, y: Tensor, context: StepContext) -> Tensor:
        """Return the scalar loss of a batch."""
        with eval_mode(net):
            worst = self._one_step(net, x.detach(), y, context)
        return F.cross_entropy(forward_logits(net, worst), y, label_smoothing=self.defense.label_smoothing)

    @torch.no_grad()
    def _one_step(self, net: nn.Module, x: Tensor, y: Tensor, context: StepContext) -> Tensor:
        """Return the points (B, *S) that the step reaches."""
        defense, threat = self.defense, self.defense.threat
        uniform = example_rng(x, context.seed, context.ids).fold_in("n-fgsm").uniform(x)
        noisy = x + (2 * uniform - 1) * (defense.noise * threat.eps)
        with torch.enable_grad():
            z = noisy.clamp(threat.low, threat.high).requires_grad_()
            # the log odds: their gradient has the sign of the cross-entropy's, and does not underflow
            gradient = input_gradient(log_odds(forward_logits(net, z), y).sum(), z)
        step = threat.steepest_step(gradient.nan_to_num(0.0, 0.0, 0.0), defense.rel_step_size * threat.eps)
        return (z.detach() + step).clamp(threat.low, threat.high)
