"""Looks at a net during its training: accuracy on fixed examples, clean, under a short attack, and proven."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from quintain.attacks.inner_maximization import ascend_loss
from quintain.certify.interval.certifier import worst_case_logits
from quintain.certify.interval.graph import TracedNetwork
from quintain.harden.worst_points import find_worst_points
from quintain.losses.cross_entropy import log_odds
from quintain.models.adapters import forward_logits
from quintain.threats.threat import Threat
from quintain.training.kept_weights import ValidationPoint

if TYPE_CHECKING:
    from quintain.data.dataset import Dataset

ATTACK_STEPS = 10
"""Gradient steps of the attack."""

BATCH_SIZE = 256
"""Examples that are measured at once."""

MAX_FALL, MAX_GAP = 0.2, 0.3
"""Catastrophic overfitting: this much robust accuracy lost since the best look, or this much more after one
step of an attack than after ten.
"""


@dataclass(frozen=True, slots=True)
class RobustValidation:
    """Measures a net in training on fixed examples, always with the same random numbers.

    Robust accuracy is after ten steps of projected gradient ascent, which shows how training goes and is no
    result: attack the trained model by what is strongest.

    Args:
        data: The examples, which should not be trained on.
        threat: The adversary's ball.
        also: Further threats, in each of which an example must stay right.
        selects: Whether the run is to end with the best weights.
        by_bounds: Whether interval bounds count what they certify, in place of the attack.
        single_step: Whether training takes a single step, so that catastrophic overfitting is looked for: one
            step then breaks nothing, and ten steps break all.
        looks: How often an epoch.

    Source: Rice et al., 2020, arXiv:2002.11569; Wong et al., 2020, arXiv:2001.03994.
    """

    data: "Dataset" = field(repr=False)
    threat: Threat
    also: tuple[Threat, ...] = field(default=(), kw_only=True)
    selects: bool = True
    by_bounds: bool = False
    single_step: bool = False
    looks: int = 1
    data_hash: str = field(default="", init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "data_hash", self.data.hash)

    def __call__(self, net: nn.Module, step: int, before: tuple[ValidationPoint, ...]) -> ValidationPoint:
        """Measure a net in evaluation mode, and compare it with what was found before."""
        counts = {"clean": 0, "robust": 0, "one step": 0, "certified": 0}
        device = next(net.parameters()).device
        traced = TracedNetwork.trace(net) if self.by_bounds else None
        with torch.no_grad():
            for x, y, ids in self._batches(device):
                correct = forward_logits(net, x).argmax(1) == y
                counts["clean"] += int(correct.sum())
                if traced is not None:
                    worst = worst_case_logits(traced, x, y, self.threat)
                    others = worst.scatter(1, y[:, None], -torch.inf).amax(1)
                    counts["certified"] += int((others < 0).sum())
                    continue
                counts["robust"] += int(self._resists(net, x, y, ids, correct).sum())
                if self.single_step:
                    counts["one step"] += int(self._resists_one_step(net, x, y, correct).sum())
        clean, robust, one_step, certified = (count / len(self.data) for count in counts.values())
        if traced is not None:
            return ValidationPoint(step, clean, None, certified)
        alarm = overfitting(robust, one_step, before) if self.single_step else ""
        return ValidationPoint(step, clean, robust, None, alarm)

    def _batches(self, device: torch.device) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for batch in self.data.batches(BATCH_SIZE):
            yield batch.x.to(device), batch.y.to(device), batch.ids

    def _resists(self, net: nn.Module, x: Tensor, y: Tensor, ids: Tensor, correct: Tensor) -> Tensor:
        """Return which of the ``correct`` examples (B,) stay so after ten steps in each threat."""
        found = correct.clone()
        for threat in (self.threat, *self.also):
            left = found.clone()
            if left.any():
                z = find_worst_points(
                    net,
                    x[left],
                    y[left],
                    threat,
                    steps=ATTACK_STEPS,
                    rel_step_size=1.0,
                    seed=0,
                    ids=ids[left.cpu()],
                )
                found[left] = forward_logits(net, z).argmax(1) == y[left]
        return found

    def _resists_one_step(self, net: nn.Module, x: Tensor, y: Tensor, correct: Tensor) -> Tensor:
        """Return which of the ``correct`` examples (B,) stay so after one step from the clean point."""
        z = ascend_loss(
            lambda z: forward_logits(net, z),
            x,
            self.threat,
            lambda logits: log_odds(logits, y),
            start=x,
            step_sizes=(self.threat.eps,),
        )
        return correct & (forward_logits(net, z).argmax(1) == y)


def overfitting(robust: float, one_step: float, before: tuple[ValidationPoint, ...]) -> str:
    """Say by what a net in training shows catastrophic overfitting; empty where it does not.

    Args:
        robust, one_step: Its accuracy after ten steps of an attack, and after one.
        before: Earlier looks.
    """
    best = max((point.robust or 0.0 for point in before), default=0.0)
    if one_step - robust > MAX_GAP:
        found = f"accuracy is {one_step:.1%} after one step of an attack and {robust:.1%} after ten"
    elif best - robust > MAX_FALL:
        found = f"accuracy under attack fell from {best:.1%} to {robust:.1%}"
    else:
        return ""
    return f"catastrophic overfitting ({found}); train with a smaller step, more noise or pgd-at"
