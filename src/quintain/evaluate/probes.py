"""Cheap questions to a model that tell a strong model from a weak attack."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from quintain.attacks.base import Attack, access_of
from quintain.attacks.counted_model import CountedModel
from quintain.attacks.goal import Goal
from quintain.attacks.gradient.fgm import FGM
from quintain.attacks.gradient.fgsm import FGSM
from quintain.attacks.gradient.pgd import PGD
from quintain.attacks.outcome import AttackOutcome, Model
from quintain.attacks.step_sizes import ascent_step, cosine_step_sizes
from quintain.core.errors import ModelError, SettingError
from quintain.core.threat_specs import threat_name
from quintain.losses.margin import margin
from quintain.models.protocol import Access
from quintain.results.robustness_records import Indicator
from quintain.threats.parametric import ParametricThreat, to_image
from quintain.threats.rng import ExampleRNG, example_rng
from quintain.threats.threat import Threat

PASSES = 5
STEPS = 20
RANDOM = {"gradients": 100, "scores": 10, "labels": 10}
"""Random points of the threat for each example that still stands; fewer where questions may be what is paid for."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A few examples that the model answers rightly.

    Args:
        model: The target.
        x, y, ids: The examples (n, *S), (n,), (n,).
        threat: The largest size.
        standing: Which of them every attack left (n,) bool.
        seed: Of the draws.
    """

    model: Model
    x: Tensor
    y: Tensor
    ids: Tensor
    threat: Threat
    standing: Tensor
    seed: int

    @property
    def access(self) -> Access:
        """What the model gives."""
        return access_of(getattr(self.model, "access", ""))

    def left(self) -> "Sample":
        """The examples that still stand."""
        return replace(
            self, x=self.x[self.standing], y=self.y[self.standing], ids=self.ids[self.standing], standing=self.standing[self.standing]
        )

    def draw(self, place: str) -> ExampleRNG:
        """The examples' random numbers at one place of use."""
        return example_rng(self.x, self.seed, self.ids).fold_in("trust", place)


def sign(name: str, value: float, threshold: float, evidence: str) -> Indicator:
    """A sign that fires above its threshold."""
    return Indicator(name, float(value), threshold, bool(value > threshold), evidence)


def asked(sample: Sample, target: int | None = None) -> Iterator[Indicator]:
    """Every sign that the model itself shows, on a sample that is not empty; of attempts to break it only where any wrong answer counts."""
    yield from _answers(sample)
    left = sample.left()
    if len(left.x) and target is None:
        yield _random(sample, left)
    climbable = threat_name(sample.threat.spec) in PGD.supports or not isinstance(sample.threat, ParametricThreat)
    if sample.access == "gradients" and climbable and sample.threat.eps:
        yield from _gradients(sample)
        if target is None:
            yield from _attempts(sample, left)


@torch.no_grad()
def _answers(sample: Sample) -> Iterator[Indicator]:
    """What the unchanged examples are answered, asked again and again."""
    passes = torch.stack([sample.model(sample.x) for _ in range(PASSES)]).double()
    unit = passes / passes.norm(dim=2, keepdim=True).clamp(min=1e-300)
    spread = (unit.amax(0) - unit.amin(0)).amax().nan_to_num(torch.inf)
    yield sign(
        "randomness between calls",
        float(spread),
        1e-4,
        f"the same examples are answered differently, by up to {float(spread):.2g} of a logit's size",
    )
    if sample.access == "labels":
        return
    logits = passes[0]
    sums = logits.sum(1)
    alike = (logits >= 0).all(1) & (sums > 0) & ((sums / sums.median() - 1).abs() < 1e-5)
    yield sign(
        "outputs that look like probabilities",
        float(alike.double().mean()),
        0.5,
        f"{_share(alike)} of the outputs are positive and have one sum: give logits, or their logarithm",
    )
    chances = logits.float().softmax(1).scatter(1, sample.y[:, None], 0.0).amax(1)
    yield sign(
        "saturated outputs",
        float((chances == 0).double().mean()),
        0.05,
        f"the cross-entropy has no slope left on {_share(chances == 0)} of the examples",
    )


@torch.no_grad()
def _random(sample: Sample, left: Sample) -> Indicator:
    """Random points of the threat against what the attacks left."""
    room, draw = left.threat.projection_cache(left.x), left.draw("random")
    goal, rows = Goal(left.y), torch.arange(len(left.x), device=left.x.device)
    broken = torch.zeros(len(left.x), dtype=torch.bool, device=left.x.device)
    for number in range(RANDOM[sample.access]):
        z = left.threat.sample(left.x, draw.fold_in(number), room)
        broken |= goal.is_adversarial(left.model(to_image(left.threat, z, left.x)), rows)
    many = int(broken.sum())
    return sign(
        "random points beat the attacks",
        many / len(sample.x),
        0.0,
        f"random points broke {many} of {len(left.x)} examples that the attacks left",
    )


def _gradients(sample: Sample) -> Iterator[Indicator]:
    """The slope at a random point, and how far ascent gets."""
    try:
        heights, slopes = _climbed(sample)
    except ModelError as error:
        yield sign("zero gradients", 1.0, 0.05, f"there is no gradient: {error}")
        return
    zero, wild = slopes == 0, ~slopes.isfinite()
    yield sign("zero gradients", float(zero.double().mean()), 0.05, f"the gradient is zero on {_share(zero)} of the examples")
    usual = slopes[~zero & ~wild]
    ratio = torch.inf if wild.any() else float(usual.max() / usual.median()) if len(usual) else 0.0
    yield sign("exploding gradients", ratio, 1e6, f"the largest gradient is {ratio:.2g} times the usual one")
    best = heights.nan_to_num(-torch.inf).cummax(0).values
    flat = ~(best[-1] > heights[0] + 1e-6 * heights[0].abs())
    yield sign(
        "loss not rising",
        float(flat.double().mean()),
        0.1,
        f"{STEPS} steps of ascent did not raise the loss on {_share(flat)} of the examples",
    )
    risen = best[-1] - heights[0]
    late = ((best[-1] - best[-1 - STEPS // 10]) / risen)[(risen > 0) & risen.isfinite()]
    part = float(late.mean()) if len(late) else 0.0
    yield sign(
        "loss still rising", part, 0.05, f"the last tenth of the steps brought {100 * part:.0f} % of the rise: more steps would find more"
    )


def _climbed(sample: Sample) -> tuple[Tensor, Tensor]:
    """Margins (STEPS + 1, n) on the way of an ascent that never stops, and the first slopes' lengths (n,)."""
    threat, x, rows = sample.threat, sample.x, torch.arange(len(sample.x), device=sample.x.device)
    meter, room = CountedModel(sample.model, sample.y), threat.projection_cache(sample.x)
    image = (lambda z: to_image(threat, z, x)) if isinstance(threat, ParametricThreat) else None
    z = threat.sample(x, sample.draw("ascent"), room)
    heights, slopes = [], torch.zeros(len(x), dtype=torch.float64)
    for number, length in enumerate(cosine_step_sizes(threat.eps, STEPS, 2.0)):
        _, height, gradient = meter.value_and_grad(z, rows, lambda logits, which: margin(logits, sample.y[which]), image)
        heights.append(height.double())
        if not number:
            slopes = gradient.double().flatten(1).norm(dim=1)
        z = ascent_step(threat, length, z, gradient, x, room)
    heights.append(margin(meter.logits(to_image(threat, z, x), rows), sample.y).double())
    return torch.stack(heights), slopes


def _attempts(sample: Sample, left: Sample) -> Iterator[Indicator]:
    """One step, another start, and a change without limit."""
    count, kind = len(sample.x), threat_name(sample.threat.spec)
    single: Attack | None = next((one() for one in (FGSM, FGM) if kind in one.supports), None)
    if len(left.x) and single is not None:
        many = int(_tried(single, left, left.threat, "one step").success.sum())
        yield sign("one step beats many", many / count, 0.02, f"one step broke {many} of {len(left.x)} examples that the attacks left")
    if kind not in PGD.supports:
        return
    if len(left.x):
        many = int(_tried(PGD(STEPS), left, left.threat, "restart").success.sum())
        yield sign(
            "restarts still help", many / count, 0.02, f"one more start broke {many} of {len(left.x)} examples that the attacks left"
        )
    whole = unlimited(sample.threat, sample.x)
    if whole is not None:
        rest = 1 - float(_tried(PGD(STEPS), sample, whole, "unlimited").success.double().mean())
        yield sign(
            "accuracy does not fall to nothing",
            rest,
            0.1,
            f"{100 * rest:.0f} % of the examples stand even where every value may change freely",
        )


def gradient_fails(sample: Sample) -> Tensor:
    """Which examples (n,) bool projected gradient ascent cannot break."""
    return ~_tried(PGD(2 * STEPS, restarts=2), sample, sample.threat, "check").success


def _tried(attack: Callable[..., AttackOutcome], sample: Sample, threat: Threat, place: str) -> AttackOutcome:
    return attack(sample.model, sample.x, sample.y, threat, seed=sample.draw(place).seed, ids=sample.ids)


def unlimited(threat: Threat, x: Tensor) -> Threat | None:
    """The ball of the same kind that holds the whole box round each ``x``; None for a family, which has no such size."""
    if isinstance(threat, ParametricThreat):
        return None
    far = torch.where(x > (threat.low + threat.high) / 2, threat.low, threat.high)
    most = float(threat.measure(far, x).max())
    try:
        return replace(threat, eps=most)  # type: ignore[type-var]
    except SettingError:
        return None


def _share(mask: Tensor) -> str:
    return f"{100 * float(mask.double().mean()):.0f} %"
