"""Lipschitz training: margins that a global Lipschitz constant certifies, with that constant in the loss."""

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from quintain.certify.lipschitz.training import differentiable_margin_constants
from quintain.core.errors import SettingError
from quintain.harden.bound_training import TraceOfNet, ramp_fraction
from quintain.harden.forward import eval_mode
from quintain.models.adapters import forward_logits
from quintain.threats.arguments import to_threat
from quintain.threats.l2 import L2
from quintain.threats.threat import Threat
from quintain.training.objective import StepContext
from quintain.training.recipe import Recipe

RECIPE = Recipe(epochs=40, batch_size=128, learning_rate=2e-3)


@dataclass(frozen=True, slots=True)
class LipschitzTraining:
    r"""Certified training for L2 by a global Lipschitz constant.

    .. math:: \min_\theta\; E_{(x, y)}\; CE\big(z(x) + \varepsilon_t\, (1 - e_y) \odot K_{y\cdot},\; y\big),
        \qquad K_{yj} = \|w_y - w_j\|_2\, L

    where L is the product over layers, and the sum over branches, of their norms, estimated by power
    iteration with gradients; :math:`\varepsilon_t` rises linearly over ``ramp``. Any net with layers that
    ``certify.Lipschitz`` knows is trained so, as it is.

    Guarantee: none of itself; ``certify.Lipschitz`` then certifies, by norms that are no estimates.

    Args:
        threat: ``L2``, the ball to be certified, or its text, such as ``"l2:0.5"``.
        recipe: Epochs, batch size and optimizer.
        train_eps_ratio: Final training eps over the threat's; above 1, more is certified at the threat
            itself.
        ramp: Fraction of the run over which eps rises.

    Raises:
        SettingError: If a number is out of range, or the threat another one.
        ModelError: From ``fit``, for a layer without a Lipschitz constant.

    Source: Leino, Wang and Fredrikson, 2021, arXiv:2102.08452.
    """

    name: ClassVar[str] = "lipschitz"
    summary: ClassVar[str] = "certified training for L2 on margins beyond a global Lipschitz constant"
    guarantee: ClassVar[str] = "none of itself; Lipschitz constants prove what holds afterwards"
    supports: ClassVar[tuple[str, ...]] = ("l2",)
    example: ClassVar[str] = "l2:0.5"
    certifier: ClassVar[str] = "lipschitz"

    threat: Threat
    recipe: Recipe = RECIPE
    train_eps_ratio: float = 1.2
    ramp: float = 0.5

    def __post_init__(self) -> None:
        object.__setattr__(self, "threat", to_threat(self.threat))
        if not isinstance(self.threat, L2):
            raise SettingError(f"Lipschitz constants are of L2; got {self.threat!r}")
        if not (0 < self.train_eps_ratio < 100 and 0 <= self.ramp <= 1):
            raise SettingError(
                f"train_eps_ratio = {self.train_eps_ratio}, ramp = {self.ramp}; expected a positive ratio "
                "such as 1.2, and a fraction of the run"
            )

    def objective(self) -> "LipschitzLoss":
        """Return the loss of a step."""
        return LipschitzLoss(self)


@dataclass(frozen=True, slots=True)
class LipschitzLoss:
    """The loss of ``LipschitzTraining``; it keeps the traced net, which does not change in training."""

    defense: LipschitzTraining
    _trace: TraceOfNet = field(default_factory=TraceOfNet, init=False, repr=False, compare=False)

    def __call__(self, net: nn.Module, x: Tensor, y: Tensor, context: StepContext) -> Tensor:
        """Return the scalar loss of a batch."""
        defense = self.defense
        factor = ramp_fraction(context.fraction_done, 0.0, defense.ramp)
        # the clean pass comes first, in training mode, and moves BatchNorm's statistics
        logits = forward_logits(net, x)
        if factor == 0:
            return F.cross_entropy(logits, y)
        with eval_mode(net):
            constants = differentiable_margin_constants(self._trace(net), x[:1])
        eps = factor * defense.train_eps_ratio * defense.threat.eps
        return F.cross_entropy(logits + eps * constants[y], y)
