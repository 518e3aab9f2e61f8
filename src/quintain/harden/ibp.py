"""Certified training by interval bound propagation (IBP), on the worst logits that the bounds allow."""

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from quintain.certify.interval.certifier import worst_case_logits
from quintain.harden.bound_training import (
    TraceOfNet,
    check_bound_weights,
    check_ramp,
    ramp_fraction,
    to_bounded_ball,
)
from quintain.harden.forward import eval_mode
from quintain.models.adapters import forward_logits
from quintain.threats.l2 import L2
from quintain.threats.linf import Linf
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

    threat: Linf | L2
    recipe: Recipe = RECIPE
    robust_weight: float = 0.8
    train_eps_ratio: float = 1.5
    warmup: float = 0.05
    ramp: float = 0.5

    def __post_init__(self) -> None:
        object.__setattr__(self, "threat", to_bounded_ball(self.threat))
        check_bound_weights(self.robust_weight, self.train_eps_ratio)
        check_ramp(self.warmup, self.ramp)

    def objective(self) -> "IBPLoss":
        """Return the loss of a step."""
        return IBPLoss(self)

    def ramp_factor(self, fraction_done: float) -> float:
        """Return how far eps and weight have risen, in [0, 1], once ``fraction_done`` of the run is done."""
        return ramp_fraction(fraction_done, self.warmup, self.ramp)


@dataclass(frozen=True, slots=True)
class IBPLoss:
    """The loss of ``IBPTraining``; it keeps the traced net, which does not change while it is trained."""

    defense: IBPTraining
    _trace: TraceOfNet = field(default_factory=TraceOfNet, init=False, repr=False, compare=False)

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
