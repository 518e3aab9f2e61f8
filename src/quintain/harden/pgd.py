"""Adversarial training: each step attacks the batch by projected gradient ascent and trains on that."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from quintain.attacks.base import Attack
from quintain.attacks.step_sizes import check_steps
from quintain.core.errors import SettingError
from quintain.core.registry import entries, get_entry
from quintain.core.threat_specs import threat_name
from quintain.harden.arguments import check_label_smoothing, to_supported
from quintain.harden.forward import eval_mode
from quintain.harden.worst_points import find_worst_points
from quintain.models.adapters import forward_logits
from quintain.threats.threat import Threat
from quintain.training.objective import StepContext
from quintain.training.recipe import Recipe

RECIPE = Recipe(epochs=25, batch_size=128, learning_rate=3e-3)


@dataclass(frozen=True, slots=True)
class PGDTraining:
    r"""Adversarial training by projected gradient ascent.

    .. math:: \min_\theta\; E_{(x, y)} \max_{z \in ball(x)} CE(f_\theta(z), y)

    The inner maximum is searched by projected gradient ascent from a random point, against the net in
    evaluation mode; the outer step is taken in training mode.

    Guarantee: none. Attacks show what it resists, which is an upper bound only.

    Args:
        threat: The adversary's ball, or its text, such as ``"linf:4/255"``; or a change with parameters, such
            as a sticker (``"patch:area=3%"``) at a new random place in each step.
        recipe: Epochs, batch size and optimizer.
        steps: Gradient steps of the inner maximization.
        rel_step_size: Length of its first step, relative to ``eps``; the steps shrink.
        label_smoothing: Part of each label's weight that is spread over all classes, in [0, 1).
        inner: Another attack by gradients, such as ``APGD(steps=5)`` or its name, for the inner maximization.
            It stops at an example's first success, and leaves those alone that are misclassified.

    Raises:
        SettingError: If a number is out of range.

    Source: Madry et al., 2018, arXiv:1706.06083; attack in evaluation mode: Pang et al., 2020,
    arXiv:2010.00467.
    """

    name: ClassVar[str] = "pgd-at"
    summary: ClassVar[str] = "adversarial training against projected gradient ascent"
    guarantee: ClassVar[str] = "none; attacks show what it resists"
    supports: ClassVar[tuple[str, ...]] = (
        "linf",
        "l2",
        "l1",
        "l0",
        "mask",
        "patch",
        "light",
        "spatial",
        "color",
    )
    example: ClassVar[str] = "linf:4/255"
    default_rank: ClassVar[int] = 2
    certifier: ClassVar[str] = "interval"
    front: ClassVar[tuple[str, tuple[float, ...]]] = ("eps ratio", (0.5, 0.75, 1.0, 1.25))
    old_names: ClassVar[tuple[str, ...]] = ("adversarial",)

    threat: Threat
    recipe: Recipe = RECIPE
    steps: int = 3
    rel_step_size: float = 0.8
    label_smoothing: float = 0.0
    inner: Attack | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "threat", to_supported(self.threat, self.supports))
        check_steps(self.steps, self.rel_step_size)
        check_label_smoothing(self.label_smoothing)
        object.__setattr__(self, "inner", _to_inner(self.inner, self.threat, self.steps))

    def objective(self) -> "PGDLoss":
        """Return the loss of a step."""
        return PGDLoss(self)


def _to_inner(inner: Attack | str | None, threat: Threat, steps: int) -> Attack | None:
    """Return the attack of the inner maximization, which may be given by its name.

    Raises:
        SettingError: If it does not take gradients alone, or not this threat.
    """
    if not inner:
        return None
    attack: Attack = get_entry("attack", inner).build(steps=steps) if isinstance(inner, str) else inner
    kind = threat_name(threat.spec)
    if attack.access != "gradients" or attack.is_ensemble or kind not in attack.supports:
        fitting = [
            name
            for name, entry in entries("attack").items()
            if kind in entry.words("supports")
            and entry.fact("access") == "gradients"
            and not entry.is_true("is_ensemble")
        ]
        raise SettingError(
            f"the inner attack {attack.name} takes {attack.access} and {', '.join(attack.supports)}; "
            f"expected one by gradients for {kind}: {', '.join(fitting)}"
        )
    return attack


@dataclass(frozen=True, slots=True)
class PGDLoss:
    """The loss of ``PGDTraining``."""

    defense: PGDTraining

    def __call__(self, net: nn.Module, x: Tensor, y: Tensor, context: StepContext) -> Tensor:
        """Return the scalar loss of a batch."""
        worst = worst_points(self.defense, net, x, y, context)
        return F.cross_entropy(forward_logits(net, worst), y, label_smoothing=self.defense.label_smoothing)


def worst_points(defense: PGDTraining, net: nn.Module, x: Tensor, y: Tensor, context: StepContext) -> Tensor:
    """Return the points (B, *S) that the inner maximization finds against a net in evaluation mode."""
    # Inner maximization against the net in evaluation mode, descent in training mode (Pang et al., 2020).
    with eval_mode(net):
        if defense.inner is not None:
            outcome = defense.inner(
                lambda z: forward_logits(net, z),
                x,
                y,
                defense.threat,
                seed=context.seed,
                ids=context.ids,
            )
            return outcome.adversarial
        return find_worst_points(
            net,
            x,
            y,
            defense.threat,
            steps=defense.steps,
            rel_step_size=defense.rel_step_size,
            seed=context.seed,
            ids=context.ids,
        )
