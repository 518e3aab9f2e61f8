"""Adversarial weight perturbation (AWP): adversarial training at the worst weights near the present ones."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quintain.attacks.step_sizes import check_steps
from quintain.core.errors import SettingError
from quintain.harden.arguments import check_label_smoothing, to_supported
from quintain.harden.forward import eval_mode
from quintain.harden.pgd import PGDTraining, worst_points
from quintain.models.adapters import forward_logits
from quintain.threats.threat import Threat
from quintain.training.objective import StepContext
from quintain.training.recipe import Recipe

RECIPE = Recipe(epochs=25, batch_size=128, learning_rate=3e-3)

TINY = 1e-12
"""Gradients of a smaller norm do not turn weights by all of gamma."""


@dataclass(frozen=True, slots=True)
class AWP:
    r"""Adversarial training by projected gradient ascent, at weights that are perturbed for the worse, too.

    .. math:: \min_\theta \max_{v} E_{(x, y)} \max_{z \in ball(x)} CE(f_{\theta + v}(z), y), \qquad
        \|v_l\| \le \gamma \|\theta_l\|

    for each layer's weights l; biases and norms stay. The step of :math:`v` is one of length
    :math:`\gamma \|\theta_l\|` along the gradient at the attacked examples. Flatter minima overfit less.

    Guarantee: none. Attacks show what it resists, which is an upper bound only.

    Args:
        threat: The adversary's ball, or its text, such as ``"linf:4/255"``.
        recipe: Epochs, batch size and optimizer.
        gamma: Size of the perturbation of weights, relative to their norm.
        warmup: Fraction of the run that is trained without it.
        steps: Gradient steps of the inner maximization.
        rel_step_size: Length of its first step, relative to ``eps``; the steps shrink.
        label_smoothing: Part of each label's weight that is spread over all classes, in [0, 1).

    Raises:
        SettingError: If a number is out of range.

    Source: Wu, Xia and Wang, 2020, arXiv:2004.05884.
    """

    name: ClassVar[str] = "awp"
    summary: ClassVar[str] = "adversarial training at adversarially perturbed weights, against overfitting"
    guarantee: ClassVar[str] = "none; attacks show what it resists"
    supports: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0", "mask")
    example: ClassVar[str] = "linf:4/255"
    certifier: ClassVar[str] = "interval"
    front: ClassVar[tuple[str, tuple[float, ...]]] = ("eps ratio", (0.5, 0.75, 1.0, 1.25))

    threat: Threat
    recipe: Recipe = RECIPE
    gamma: float = 0.01
    warmup: float = 0.1
    steps: int = 3
    rel_step_size: float = 0.8
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "threat", to_supported(self.threat, self.supports))
        check_steps(self.steps, self.rel_step_size)
        check_label_smoothing(self.label_smoothing)
        if not (0 < self.gamma < math.inf and 0 <= self.warmup < 1):
            raise SettingError(
                f"gamma = {self.gamma}, warmup = {self.warmup}; expected a positive gamma, such as 0.01, and "
                "a fraction of the run in [0, 1)"
            )

    def objective(self) -> "AWPLoss":
        """Return the loss of a step."""
        return AWPLoss(self)


@dataclass(frozen=True, slots=True)
class AWPLoss:
    """The loss of ``AWP``."""

    defense: AWP

    def __call__(self, net: nn.Module, x: Tensor, y: Tensor, context: StepContext) -> Tensor:
        """Return the scalar loss of a batch."""
        defense = self.defense
        inner = PGDTraining(
            defense.threat,
            defense.recipe,
            defense.steps,
            defense.rel_step_size,
            label_smoothing=defense.label_smoothing,
        )
        worst = worst_points(inner, net, x, y, context)

        def loss_at(z: Tensor) -> Tensor:
            return F.cross_entropy(forward_logits(net, z), y, label_smoothing=defense.label_smoothing)

        if context.fraction_done < defense.warmup:
            return loss_at(worst)
        trainable = [parameter for parameter in net.parameters() if parameter.requires_grad]
        changes = self._weight_changes(net, trainable, loss_at, worst, context)
        originals = [parameter.detach().clone() for parameter in trainable]
        try:
            with torch.no_grad():
                for parameter, change in zip(trainable, changes, strict=True):
                    parameter.add_(change)
            loss = loss_at(worst)
            gradients = torch.autograd.grad(loss, trainable, allow_unused=True)
        finally:
            with torch.no_grad():
                for parameter, original in zip(trainable, originals, strict=True):
                    parameter.copy_(original)
        # the loss at the perturbed weights, with the gradient there as that of the weights themselves: what
        # is linear in them has it exactly
        linear = sum(
            (
                (parameter * gradient).sum()
                for parameter, gradient in zip(trainable, gradients, strict=True)
                if gradient is not None
            ),
            start=loss.new_zeros(()),
        )
        return loss.detach() + (linear - linear.detach())

    def _weight_changes(
        self,
        net: nn.Module,
        trainable: Sequence[nn.Parameter],
        loss_at: Callable[[Tensor], Tensor],
        worst: Tensor,
        context: StepContext,
    ) -> list[Tensor]:
        """Return what is added to each parameter: a step up the loss, as long as gamma times its norm."""
        with eval_mode(net):
            found = torch.autograd.grad(loss_at(worst), trainable, allow_unused=True)
        gradients = [
            torch.zeros_like(parameter) if gradient is None else gradient
            for parameter, gradient in zip(trainable, found, strict=True)
        ]
        context.average(gradients)
        return [
            gradient * (self.defense.gamma * parameter.detach().norm() / gradient.norm().clamp(min=TINY))
            if parameter.ndim > 1
            else torch.zeros_like(gradient)
            for parameter, gradient in zip(trainable, gradients, strict=True)
        ]
