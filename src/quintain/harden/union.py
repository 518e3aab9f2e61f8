"""Adversarial training against several threats at once: each example's worst point over all of them."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quintain.attacks.step_sizes import check_steps
from quintain.core.seeds import derive_seed
from quintain.harden.arguments import check_label_smoothing, to_supported
from quintain.harden.forward import eval_mode
from quintain.harden.pgd import RECIPE, PGDTraining
from quintain.harden.worst_points import find_worst_points
from quintain.models.adapters import forward_logits
from quintain.threats.threat import Threat
from quintain.training.objective import StepContext
from quintain.training.recipe import Recipe


@dataclass(frozen=True, slots=True)
class UnionTraining:
    r"""Adversarial training against the union of several threats, such as an Linf and an L2 ball.

    .. math:: \min_\theta\; E_{(x, y)} \max_k \max_{z \in S_k(x)} CE(f_\theta(z), y)

    Each threat is searched as in ``PGDTraining``, and each example is trained on where its loss is largest.

    Guarantee: none. Attacks on each threat show what it resists, which is an upper bound only.

    Args:
        threat: The first threat, or its text.
        also: The others.
        recipe: Epochs, batch size and optimizer.
        steps: Gradient steps in each threat; a step of training costs as much as that of ``PGDTraining`` for
            each of them.
        rel_step_size: Length of the first step, relative to ``eps``, in a ball.
        label_smoothing: Part of each label's weight that is spread over all classes, in [0, 1).

    Raises:
        SettingError: If a number is out of range.

    Source: Tramer and Boneh, 2019, arXiv:1904.13000 (the "max" strategy).
    """

    name: ClassVar[str] = "union-at"
    summary: ClassVar[str] = "adversarial training against several threats at once, each example at its worst"
    guarantee: ClassVar[str] = "none; attacks on each threat show what it resists"
    supports: ClassVar[tuple[str, ...]] = PGDTraining.supports
    example: ClassVar[str] = "linf:2/255"
    certifier: ClassVar[str] = "interval"

    threat: Threat
    recipe: Recipe = RECIPE
    also: tuple[Threat, ...] = ()
    steps: int = 3
    rel_step_size: float = 0.8
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "threat", to_supported(self.threat, self.supports))
        object.__setattr__(self, "also", tuple(to_supported(one, self.supports) for one in self.also))
        check_steps(self.steps, self.rel_step_size)
        check_label_smoothing(self.label_smoothing)

    def objective(self) -> "UnionLoss":
        """Return the loss of a step."""
        return UnionLoss(self)


@dataclass(frozen=True, slots=True)
class UnionLoss:
    """The loss of ``UnionTraining``."""

    defense: UnionTraining

    def __call__(self, net: nn.Module, x: Tensor, y: Tensor, context: StepContext) -> Tensor:
        """Return the scalar loss of a batch."""
        with eval_mode(net):
            worst = self._worst_points(net, x, y, context)
        return F.cross_entropy(forward_logits(net, worst), y, label_smoothing=self.defense.label_smoothing)

    def _worst_points(self, net: nn.Module, x: Tensor, y: Tensor, context: StepContext) -> Tensor:
        """Return for each example the point (B, *S) of all threats at which its loss is largest."""
        defense = self.defense
        worst, largest = x, torch.full_like(y, -torch.inf, dtype=torch.float32)
        for number, threat in enumerate((defense.threat, *defense.also)):
            found = find_worst_points(
                net,
                x,
                y,
                threat,
                steps=defense.steps,
                rel_step_size=defense.rel_step_size,
                seed=derive_seed(context.seed, "union", number),
                ids=context.ids,
            )
            with torch.no_grad():
                losses = F.cross_entropy(forward_logits(net, found), y, reduction="none").float()
            is_worse = losses > largest
            worst = torch.where(is_worse.reshape(-1, *[1] * (x.ndim - 1)), found, worst)
            largest = torch.where(is_worse, losses, largest)
        return worst
