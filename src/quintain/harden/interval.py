"""Certified training: the worst that interval bounds allow is trained on, in place of the worst that an attack finds."""

import math
from dataclasses import dataclass, field

from torch import Tensor, nn
from torch.nn import functional as F

from quintain.certify.interval import worst_logits
from quintain.certify.network import Network
from quintain.core.errors import SettingError
from quintain.harden.deployed import evaluating, logits
from quintain.threats.ball import Ball
from quintain.threats.l2 import L2
from quintain.threats.linf import Linf
from quintain.training.objective import Moment
from quintain.training.recipe import Recipe

RECIPE = Recipe(epochs=40, batch=128, rate=5e-3)


@dataclass(frozen=True, slots=True)
class IntervalTraining:
    r"""Cross-entropy of the worst logits that interval bounds allow, mixed with the ordinary one.

    .. math:: (1 - w_t)\, CE(f(x), y) + w_t\, CE(\hat z_{\varepsilon_t}(x), y)

    :math:`\varepsilon_t` and :math:`w_t` rise together: 0 during ``warm``, then linearly over ``ramp`` up to ``stretch * eps``
    and ``weight``, then constant. Bounds are those of the net in evaluation mode.

    Guarantee: none of itself; ``IntervalBounds`` then proves what it can of the trained net, which is made to be proven by it.

    Args:
        threat: ``Linf`` or ``L2`` that shall be provable.
        recipe: Epochs, batch and optimiser.
        weight: Final share of the bound's loss.
        stretch: Final training radius over the threat's; above 1 it proves more at the threat itself.
        warm, ramp: Shares of the run.

    Raises:
        SettingError: If a number is out of range.
        ModelError: From ``fit``, for a layer without a bound rule.

    Source: Gowal et al., 2018, arXiv:1810.12715.
    """

    threat: Ball
    recipe: Recipe = RECIPE
    weight: float = 0.8
    stretch: float = 1.5
    warm: float = 0.05
    ramp: float = 0.5

    def __post_init__(self) -> None:
        if not isinstance(self.threat, Linf | L2):
            raise SettingError(f"interval bounds know Linf and L2; got {self.threat!r}")
        if not (0 < self.weight <= 1 <= self.stretch < math.inf):
            raise SettingError(
                f"weight = {self.weight}, stretch = {self.stretch}; expected weight in (0, 1] and a finite stretch of at least 1"
            )
        if not (self.warm >= 0 and self.ramp >= 0 and self.warm + self.ramp <= 1):
            raise SettingError(f"warm = {self.warm}, ramp = {self.ramp}; expected shares of the run that add up to at most 1")

    def objective(self) -> "IntervalLoss":
        """The loss of a step."""
        return IntervalLoss(self)

    def risen(self, share: float) -> float:
        """How far eps and weight have risen, in [0, 1], once ``share`` of the run is done."""
        if share >= self.warm + self.ramp:
            return 1.0
        return (share - self.warm) / self.ramp if share > self.warm else 0.0


@dataclass(frozen=True, slots=True)
class IntervalLoss:
    """The loss of ``IntervalTraining``; it keeps the net's graph, which does not change while it is trained."""

    plan: IntervalTraining
    _graphs: list[tuple[nn.Module, Network]] = field(default_factory=list, init=False, repr=False, compare=False)

    def __call__(self, net: nn.Module, x: Tensor, y: Tensor, moment: Moment) -> Tensor:
        """The scalar loss of a batch."""
        plan, risen = self.plan, self.plan.risen(moment.share)
        clean = F.cross_entropy(logits(net, x), y)
        if risen == 0:
            return clean
        with evaluating(net):
            bound = F.cross_entropy(worst_logits(self._graph(net), x, y, plan.threat, eps=risen * plan.stretch * plan.threat.eps), y)
        weight = risen * plan.weight
        return (1 - weight) * clean + weight * bound

    def _graph(self, net: nn.Module) -> Network:
        if not self._graphs or self._graphs[0][0] is not net:
            self._graphs[:] = [(net, Network.of(net))]
        return self._graphs[0][1]
