"""One toy of each kind, in a single file of another package, which is known by its entry points alone."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from quintain.attacks import Attack, Search, UniversalAttack, UniversalPerturbation
from quintain.attacks.perturbation import content_hashes
from quintain.certify import CertificateOutcome, IntervalBounds
from quintain.core.progress import no_progress
from quintain.core.registry import declare
from quintain.data import Dataset, Splits, from_arrays
from quintain.dp import PrivatePlan, PrivateTrainingResult, fit, register_rule
from quintain.federated import SecureSum, Strategy
from quintain.leakage import OneRunAudit, audit_one_run
from quintain.models import initialize
from quintain.threats import Linf, Threat
from quintain.training import CleanCrossEntropy, Recipe

SHORT = Recipe(epochs=2, batch_size=16, learning_rate=1e-2)


@dataclass(frozen=True, slots=True)
class ToyBall(Linf):
    """The Linf ball under another name."""

    name: ClassVar[str] = "toy-ball"
    summary: ClassVar[str] = "the Linf ball under another name (toy-ball:0.1)"
    guarantee: ClassVar[str] = "that of Linf"
    example: ClassVar[str] = "toy-ball:0.1"
    usual: ClassVar[str] = ""


@dataclass(frozen=True)
class ToyAttack(Attack):
    """Take steps along the gradient at the clean inputs."""

    name: ClassVar[str] = "toy"
    summary: ClassVar[str] = "steps along the gradient at the clean inputs"
    supports: ClassVar = ("linf", "l2", "toy-ball")
    optimality_gap: ClassVar = {"any": 0.2, "l2": 0.3}
    test_settings: ClassVar = {"steps": 2}
    exemptions: ClassVar = {
        f"better than random in {kind}": "its one gradient says little far away"
        for kind in ("linf", "l2", "toy-ball")
    }

    steps: int = 2

    def run(self, search: Search) -> None:
        x, threat = search.x, search.threat
        rows = search.active_rows
        if not len(rows):
            return
        gradient = search.value_and_grad(x[rows], rows, search.goal.log_odds).gradient.nan_to_num()
        for step in range(1, self.steps + 1):
            moved = x[rows] + threat.steepest_step(gradient, step / self.steps * threat.eps)
            still = search.is_active(rows)
            rows, gradient, moved = rows[still], gradient[still], moved[still]
            if len(rows):
                search.query(threat.project(moved, x[rows]), rows)


@dataclass(frozen=True)
class ToyShift(UniversalAttack):
    """Make all pictures brighter."""

    name: ClassVar[str] = "toy-shift"
    summary: ClassVar[str] = "all pictures are brighter"
    test_settings: ClassVar = {"percent": 20}

    target: int | None = None
    percent: int = 10

    def fit(self, model, data, *, seed=0, progress=no_progress) -> UniversalPerturbation:
        eps = self.percent / 100
        return UniversalPerturbation(torch.full(data.shape, eps), Linf(eps), content_hashes(data))


@dataclass(frozen=True, slots=True)
class ToyBounds:
    """Interval bounds, in the ball of another name."""

    name: ClassVar[str] = "toy-bounds"
    summary: ClassVar[str] = "interval bounds under another name"
    guarantee: ClassVar[str] = "that of interval bounds"
    title: ClassVar[str] = "toy bounds"
    supports: ClassVar[tuple[str, ...]] = ("linf", "toy-ball")
    example: ClassVar[str] = "toy-ball:0.05"

    def __call__(
        self, model, x: Tensor, y: Tensor, threat: Threat, *, eps: Tensor | None = None
    ) -> CertificateOutcome:
        return IntervalBounds()(model, x, y, Linf(threat.eps, threat.low, threat.high), eps=eps)


@dataclass(frozen=True, slots=True)
class ToyTraining:
    """Plain training, said to be a defense."""

    name: ClassVar[str] = "toy-training"
    summary: ClassVar[str] = "plain training"
    guarantee: ClassVar[str] = "none; attacks show what it resists"
    supports: ClassVar[tuple[str, ...]] = ("toy-ball",)
    example: ClassVar[str] = "toy-ball:0.02"
    certifier: ClassVar[str] = "toy-bounds"

    threat: Threat
    recipe: Recipe = SHORT

    def objective(self) -> CleanCrossEntropy:
        return CleanCrossEntropy()


@declare(name="toy-data", summary="bright and dark pictures of 4x4", is_public=True)
def toy_data() -> Splits:
    """Return a training and a test split."""

    def split(count: int, seed: int) -> Dataset:
        labels = np.arange(count) % 2
        noise = np.random.default_rng(seed).uniform(0, 0.4, (count, 4, 4))
        images = (noise + 0.5 * labels[:, None, None]).astype(np.float32)
        return from_arrays(images, labels, name="toy-data")

    return Splits("toy-data", train=split(60, 0), test=split(20, 1))


@declare(name="toy-net", summary="one linear layer")
def toy_net(num_classes: int = 2, channels: int = 1, size: int = 4, *, seed: int = 0) -> nn.Module:
    """Return a linear net."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(channels * size * size, num_classes))
    return initialize(net, seed)


class Scale(nn.Module):
    """One factor for each number."""

    def __init__(self, numbers: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(numbers))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


@register_rule(Scale, example=lambda: nn.Sequential(nn.Flatten(), Scale(16), nn.Linear(16, 3)))
def scale_rule(layer: Scale, activations: Tensor, backprops: Tensor) -> dict[str, Tensor]:
    """Return the gradient of each factor."""
    return {"weight": activations * backprops}


@declare(name="toy-scaled-net", summary="a linear layer on factors, whose rule is not built in")
def toy_scaled_net(num_classes: int = 2, channels: int = 1, size: int = 4, *, seed: int = 0) -> nn.Module:
    """Return a linear net on factors."""
    net = toy_net(num_classes, channels, size, seed=seed)
    return nn.Sequential(net[0], Scale(channels * size * size), net[1])


@declare(name="toy-sgd", summary="DP-SGD under another name", guarantee="that of dp-sgd")
def toy_fit(
    net: nn.Module, data: Dataset, plan: PrivatePlan, *, seed: int | None = None
) -> PrivateTrainingResult:
    """Train privately."""
    return fit(net, data, plan, seed=seed)


@declare(name="toy-audit", summary="half of the audited epsilon", guarantee="that of one-run", kind="audit")
def toy_audit(scores, included, *, delta=1e-5, confidence=0.95, seed=0, quantity=None) -> OneRunAudit:
    """Return a bound of half the size."""
    found = audit_one_run(scores, included, delta=delta, confidence=confidence, seed=seed, quantity=quantity)
    return replace(found, bound=replace(found.bound, value=found.bound.value / 2))


@dataclass(frozen=True)
class Guess:
    """A picture."""

    image: Tensor


@declare(
    name="toy-guess",
    summary="gray, whatever the update",
    guarantee="a witness",
    kind="leak",
    goal="pictures",
    access="update",
)
def toy_guess(net, gradient, shape, *, steps, tv_weight, seed, progress) -> Guess:
    """Return a gray picture."""
    return Guess(torch.full(tuple(shape), 0.5))


class ToySum(SecureSum):
    """A secure sum under another name."""

    name: ClassVar[str] = "toy-sum"
    summary: ClassVar[str] = "a secure sum under another name"
    guarantee: ClassVar[str] = "that of secagg"


class ToyHalf(Strategy):
    """Half of the average."""

    name: ClassVar[str] = "toy-half"
    summary: ClassVar[str] = "the model moves by half of the average"

    def step(self, mean, state, weight_fraction):
        """Return half of the average."""
        return mean / 2, state
