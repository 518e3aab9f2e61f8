"""Certified training by interval bounds and an attack together (MTL-IBP), well begun and regularized."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from quintain.attacks.inner_maximization import maximize_loss
from quintain.certify.interval.certifier import worst_case_logits
from quintain.certify.interval.domain import Interval
from quintain.core.errors import SettingError
from quintain.core.seeds import derive_seed
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

RECIPE = Recipe(epochs=40, batch_size=256, learning_rate=2e-3)

TOLERANCE = 0.5
"""Ratios above it cost nothing, in both regularizers."""

TINY = 1e-12
"""Stands for 0 in a denominator."""

MIDDLE = 0.25
"""Where on the ramp the smooth beginning goes over into a straight line."""


@dataclass(frozen=True, slots=True)
class MTLIBP:
    r"""Certified training: cross-entropy at adversarial points, mixed with that of worst-case logits.

    .. math:: (1 - a)\, CE(f(z), y) + a\, CE(\hat z_{\varepsilon_t}(x), y) +
        \lambda (1 - \tfrac{\varepsilon_t}{\varepsilon}) (R_{tight} + R_{relu})

    with z from one step of an attack in the ball of :math:`\varepsilon_t`, and :math:`\hat z` from interval
    bounds. The net begins with weights whose bounds do not grow from layer to layer; the regularizers keep
    that so, and as many ReLUs on as off, while :math:`\varepsilon_t` rises. a = 1 is the training of Shi et
    al. by bounds alone, which certifies most; a smaller one is more accurate and certifies less.

    Guarantee: none of itself; ``IntervalBounds`` then certifies what it can of the trained net, which is
    trained for these bounds, and ``CROWN`` more.

    Args:
        threat: ``Linf`` or ``L2``, the ball to be certified, or its text, such as ``"linf:4/255"``.
        recipe: Epochs, batch size and optimizer.
        robust_weight: Weight of the bounds, a.
        train_eps_ratio: Final training eps over the threat's; above 1, more is certified at the threat
            itself.
        warmup, ramp: Fractions of the run at eps 0, and in which it rises.
        regularization: Weight of the regularizers at the start of the ramp.
        initializes: Whether the weights are drawn anew, for training by bounds; not for a net that comes
            trained.

    Raises:
        SettingError: If a number is out of range.
        ModelError: From ``fit``, for a layer without a bound rule.

    Source: De Palma et al., 2023, arXiv:2305.13991; Shi et al., 2021, arXiv:2103.17268.
    """

    name: ClassVar[str] = "mtl-ibp"
    summary: ClassVar[str] = (
        "certified training by interval bounds and an attack, with an initialization and regularizers for it"
    )
    guarantee: ClassVar[str] = "none of itself; interval bounds prove what holds afterwards"
    supports: ClassVar[tuple[str, ...]] = ("linf", "l2")
    example: ClassVar[str] = "linf:4/255"
    certifier: ClassVar[str] = "interval"
    front: ClassVar[tuple[str, tuple[float, ...]]] = ("robust_weight", (0.1, 0.3, 0.6, 1.0))
    trains_bounds: ClassVar[bool] = True
    max_grad_norm: ClassVar[float] = 10.0

    threat: Linf | L2
    recipe: Recipe = RECIPE
    robust_weight: float = 1.0
    train_eps_ratio: float = 1.2
    warmup: float = 0.04
    ramp: float = 0.4
    regularization: float = 0.5
    initializes: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "threat", to_bounded_ball(self.threat))
        check_bound_weights(self.robust_weight, self.train_eps_ratio)
        check_ramp(self.warmup, self.ramp)
        if not 0 <= self.regularization < math.inf:
            raise SettingError(f"regularization = {self.regularization}; expected a number from 0 up")

    def prepare(self, net: nn.Module, seed: int) -> None:
        """Draw the weights with which bounds do not grow from layer to layer, where that is wanted."""
        if self.initializes:
            initialize_for_bounds(net, seed)

    def objective(self) -> "MTLIBPLoss":
        """Return the loss of a step."""
        return MTLIBPLoss(self)

    def ramp_factor(self, fraction_done: float) -> float:
        """Return how far eps has risen, in [0, 1], once ``fraction_done`` of the run is done."""
        fraction = ramp_fraction(fraction_done, self.warmup, self.ramp)
        return smooth_ramp(fraction) if fraction < 1 else 1.0


def smooth_ramp(t: float) -> float:
    r"""Return a rise from 0 at t = 0 to 1 at t = 1: a fourth power first, then its tangent.

    .. math:: c\,t^4 \text{ up to } m, \quad c\,m^4 + 4 c\,m^3 (t - m) \text{ after it}
    """
    scale = 1 / (MIDDLE**4 + 4 * MIDDLE**3 * (1 - MIDDLE))
    return scale * (t**4 if t < MIDDLE else MIDDLE**4 + 4 * MIDDLE**3 * (t - MIDDLE))


def initialize_for_bounds(net: nn.Module, seed: int) -> None:
    r"""Draw the weights of all linear and convolutional layers but the last anew, and set their biases to 0.

    .. math:: w \sim N(0, 2\pi / n^2), \qquad E|w| = 2 / n

    with n inputs: half of them come through a ReLU, so that radii stay as large as they are.

    Source: Shi et al., 2021, arXiv:2103.17268, section 3.2.
    """
    layers = [(name, one) for name, one in net.named_modules() if isinstance(one, nn.Linear | nn.Conv2d)]
    for name, layer in layers[:-1]:
        generator = torch.Generator().manual_seed(derive_seed(seed, "bounds", name))
        inputs = layer.weight[0].numel()
        with torch.no_grad():
            drawn = torch.empty(layer.weight.shape).normal_(generator=generator)
            layer.weight.copy_(drawn * (math.sqrt(2 * math.pi) / inputs))
            if layer.bias is not None:
                layer.bias.zero_()


@dataclass(frozen=True, slots=True)
class MTLIBPLoss:
    """The loss of ``MTLIBP``; it keeps the traced net, which does not change while it is trained."""

    defense: MTLIBP
    _trace: TraceOfNet = field(default_factory=TraceOfNet, init=False, repr=False, compare=False)

    def __call__(self, net: nn.Module, x: Tensor, y: Tensor, context: StepContext) -> Tensor:
        """Return the scalar loss of a batch."""
        defense = self.defense
        factor = defense.ramp_factor(context.fraction_done)
        if factor == 0:
            return F.cross_entropy(forward_logits(net, x), y)
        if any(isinstance(module, _BatchNorm) for module in net.modules()):
            # statistics of batch norms come from clean inputs; all that follows uses them
            with torch.no_grad():
                forward_logits(net, x)
        eps = factor * defense.train_eps_ratio * defense.threat.eps
        inputs: list[Interval] = []
        with eval_mode(net):
            worst = worst_case_logits(
                self._trace(net), x, y, defense.threat, eps=eps, activations=inputs if factor < 1 else None
            )
            loss = defense.robust_weight * F.cross_entropy(worst, y)
            if defense.robust_weight < 1:
                z = self._adversarial(net, x, y, eps, context)
                loss = loss + (1 - defense.robust_weight) * F.cross_entropy(forward_logits(net, z), y)
        if inputs and defense.regularization:
            loss = loss + defense.regularization * (1 - factor) * regularizer(inputs[0], inputs[1:])
        return loss

    def _adversarial(self, net: nn.Module, x: Tensor, y: Tensor, eps: float, context: StepContext) -> Tensor:
        """Return points (B, *S) after one step of an attack in the ball of the present eps."""
        return maximize_loss(
            lambda z: forward_logits(net, z),
            x,
            y,
            replace(self.defense.threat, eps=eps),
            steps=1,
            rel_step_size=2.0,
            seed=context.seed,
            ids=context.ids,
        )


def regularizer(first: Interval, inputs: Sequence[Interval]) -> Tensor:
    r"""Return what bounds cost that grow from the inputs on, and ReLUs of which most are on, or most off.

    .. math:: \frac1L \sum_l \Big(\Big[1 - \tfrac{\bar r_0}{\tau \bar r_l}\Big]_+ +
        \Big[1 - \tfrac{m_l}{\tau}\Big]_+ + \Big[1 - \tfrac{v_l}{\tau}\Big]_+\Big)

    with :math:`\bar r` mean radii, and m and v the ratio (the smaller over the larger) of the sums over
    active and over inactive units, of centers and of their squared deviations.

    Args:
        first: The net's inputs.
        inputs: Of each ReLU.

    Source: Shi et al., 2021, arXiv:2103.17268, section 3.3.
    """
    total = first.center.new_zeros(())
    start = first.radius.mean()
    for one in inputs:
        total = total + shortfall(start / one.radius.mean().clamp(min=TINY))
        active, inactive = one.lower > 0, one.upper < 0
        if active.any() and inactive.any():
            squares = (one.center - one.center.mean()).square()
            total = total + shortfall(balance((one.center * active).sum(), -(one.center * inactive).sum()))
            total = total + shortfall(balance((squares * active).sum(), (squares * inactive).sum()))
    return total / max(1, len(inputs))


def balance(a: Tensor, b: Tensor) -> Tensor:
    """Return the smaller over the larger of two positive numbers."""
    return torch.minimum(a, b) / torch.maximum(a, b).clamp(min=TINY)


def shortfall(ratio: Tensor) -> Tensor:
    """Return how far a ratio is below the tolerance, as a fraction of that."""
    return F.relu(1 - ratio / TOLERANCE)
