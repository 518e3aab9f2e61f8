"""Certified training by interval bound propagation (IBP), on the worst logits that the bounds allow."""

import math
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from quintain.certify.interval.certifier import worst_case_logits
from quintain.certify.interval.graph import TracedNetwork
from quintain.core.errors import SettingError
from quintain.harden.forward import eval_mode
from quintain.models.adapters import forward_logits
from quintain.threats.arguments import to_threat
from quintain.threats.l2 import L2
from quintain.threats.linf import Linf
from quintain.threats.threat import Threat
from quintain.training.objective import StepContext
from quintain.training.recipe import Recipe

RECIPE = Recipe(epochs=40, batch_size=128, learning_rate=5e-3)


@dataclass(frozen=True, slots=True)
class IBPTraining:
    r"""Certified training by interval bounds: cross-entropy of worst-case logits, mixed with the clean one.

    .. math:: (1 - w_t)\, CE(f(x), y) + w_t\, CE(\hat z_{\varepsilon_t}(x), y)

    :math:`\varepsilon_t` and :math:`w_t` rise together: 0 during ``warmup``, then linearly over ``ramp`` up
    to ``train_eps_ratio * eps`` and ``robust_weight``, then constant. Bounds are those of the net in
    evaluation mode.

    Guarantee: none of itself; ``IntervalBounds`` then certifies what it can of the trained net, which is
    trained for these bounds.

    Args:
        threat: ``Linf`` or ``L2``, the ball to be certified, or its text, such as ``"linf:4/255"``.
        recipe: Epochs, batch size and optimizer.
        robust_weight: Final weight of the worst-case loss.
        train_eps_ratio: Final training eps over the threat's; above 1, more is certified at the threat
            itself.
        warmup, ramp: Fractions of the run.

    Raises:
        SettingError: If a number is out of range.
        ModelError: From ``fit``, for a layer without a bound rule.

    Source: Gowal et al., 2018, arXiv:1810.12715.
    """

    name: ClassVar[str] = "ibp"
    summary: ClassVar[str] = (
        "certified training on the worst case of interval bounds, with a ramp of eps and weight"
    )
    guarantee: ClassVar[str] = "none of itself; interval bounds prove what holds afterwards"
    supports: ClassVar[tuple[str, ...]] = ("linf", "l2")
    example: ClassVar[str] = "linf:4/255"
    default_rank: ClassVar[int] = 1
    certifier: ClassVar[str] = "interval"
    front: ClassVar[tuple[str, tuple[float, ...]]] = ("robust_weight", (0.2, 0.4, 0.6, 0.8))
    trains_bounds: ClassVar[bool] = True
    old_names: ClassVar[tuple[str, ...]] = ("certified",)

    threat: Threat
    recipe: Recipe = RECIPE
    robust_weight: float = 0.8
    train_eps_ratio: float = 1.5
    warmup: float = 0.05
    ramp: float = 0.5

    def __post_init__(self) -> None:
        object.__setattr__(self, "threat", to_threat(self.threat))
        if not isinstance(self.threat, Linf | L2):
            raise SettingError(f"interval bounds know Linf and L2; got {self.threat!r}")
        if not (0 < self.robust_weight <= 1 <= self.train_eps_ratio < math.inf):
            raise SettingError(
                f"robust_weight = {self.robust_weight}, train_eps_ratio = {self.train_eps_ratio}; "
                "expected a weight in (0, 1] and a finite ratio of at least 1"
            )
        if not (self.warmup >= 0 and self.ramp >= 0 and self.warmup + self.ramp <= 1):
            raise SettingError(
                f"warmup = {self.warmup}, ramp = {self.ramp}; expected fractions of the run that add up to "
                "at most 1"
            )

    def objective(self) -> "IBPLoss":
        """Return the loss of a step."""
        return IBPLoss(self)

    def ramp_factor(self, fraction_done: float) -> float:
        """Return how far eps and weight have risen, in [0, 1], once ``fraction_done`` of the run is done."""
        # 0 in the warm-up, then linear, then 1.
        if fraction_done >= self.warmup + self.ramp:
            return 1.0
        return (fraction_done - self.warmup) / self.ramp if fraction_done > self.warmup else 0.0


@dataclass(frozen=True, slots=True)
class IBPLoss:
    """The loss of ``IBPTraining``; it keeps the traced net, which does not change while it is trained."""

    defense: IBPTraining
    _traced: list[tuple[nn.Module, TracedNetwork]] = field(
        default_factory=list, init=False, repr=False, compare=False
    )

    def __call__(self, net: nn.Module, x: Tensor, y: Tensor, context: StepContext) -> Tensor:
        """Return the scalar loss of a batch."""
        defense = self.defense
        factor = defense.ramp_factor(context.fraction_done)
        # The clean pass comes first, in training mode, and moves BatchNorm's statistics; the bounds then use
        # them.
        clean = F.cross_entropy(forward_logits(net, x), y)
        if factor == 0:
            return clean
        eps = factor * defense.train_eps_ratio * defense.threat.eps
        with eval_mode(net):
            bound = F.cross_entropy(worst_case_logits(self._trace(net), x, y, defense.threat, eps=eps), y)
        weight = factor * defense.robust_weight  # 1 - kappa of Gowal et al.
        return (1 - weight) * clean + weight * bound

    def _trace(self, net: nn.Module) -> TracedNetwork:
        if not self._traced or self._traced[0][0] is not net:
            self._traced[:] = [(net, TracedNetwork.trace(net))]
        return self._traced[0][1]
