"""Probe a model with some further queries, to tell a strong model from a weak attack."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import combinations

import torch
from torch import Tensor

from quintain.attacks.base import Attack, access_of
from quintain.attacks.counted_model import CountedModel
from quintain.attacks.goal import Goal
from quintain.attacks.gradient.fgm import FGM
from quintain.attacks.gradient.fgsm import FGSM
from quintain.attacks.gradient.pgd import PGD
from quintain.attacks.minimum_norm.fmn import FMN
from quintain.attacks.outcome import AttackOutcome, Model
from quintain.attacks.step_sizes import ascent_step, cosine_step_sizes
from quintain.core.errors import ModelError, SettingError
from quintain.core.threat_specs import threat_name
from quintain.evaluate.evasion.witnesses import Witness, confirmed_witnesses
from quintain.losses.margin import margin
from quintain.models.protocol import Access
from quintain.results.robustness_records import Indicator
from quintain.threats.broadcast import rows_differ
from quintain.threats.parametric import ParametricThreat, to_image
from quintain.threats.rng import ExampleRNG, example_rng
from quintain.threats.threat import Threat

PASSES = 5
STEPS = 20
RANDOM = {"gradients": 100, "scores": 10, "labels": 10}
"""Random points of the threat for each unbroken example; fewer where queries may be what is paid for."""

PROBE_QUERIES = {"gradients": 400, "scores": 16, "labels": 16}
"""At most so many forward passes of all probes together for each probed example, whatever the attacks had."""


TENTH = 0.1
"""Fraction of the way between two points on which a score that shows the way moves less than on all of it."""


@dataclass(frozen=True, slots=True, eq=False)
class ProbeSet:
    """Some examples that the model classifies correctly.

    Args:
        model: The model under attack.
        x, y, ids: The examples (n, *S), (n,), (n,).
        threat: The largest threat.
        unbroken: Which of them no attack broke (n,) bool.
        seed: Seed of all random numbers.
        witnesses: The breaks of unbroken examples that the probes find are added here.
    """

    model: Model
    x: Tensor
    y: Tensor
    ids: Tensor
    threat: Threat
    unbroken: Tensor
    seed: int
    witnesses: list[Witness] = field(default_factory=list)

    @property
    def access(self) -> Access:
        """What the model gives."""
        return access_of(getattr(self.model, "access", ""))

    def unbroken_only(self) -> "ProbeSet":
        """Return the unbroken examples only."""
        rows = self.unbroken
        return replace(self, x=self.x[rows], y=self.y[rows], ids=self.ids[rows], unbroken=rows[rows])

    def add_witnesses(self, probe: str, hit: Tensor, z: Tensor) -> None:
        """Add the points ``z`` (n, *S) or parameters (n, P) that broke examples, where ``hit`` (n,), if
        they are confirmed.
        """
        hit, z = hit.to(self.x.device), z.detach().to(self.x.device)
        x, y, ids = self.x[hit], self.y[hit], self.ids[hit.to(self.ids.device)]
        self.witnesses.extend(confirmed_witnesses(probe, self.model, self.threat, x, y, ids, z[hit]))

    def draw(self, place: str) -> ExampleRNG:
        """The examples' random numbers at one place of use."""
        return example_rng(self.x, self.seed, self.ids).fold_in("trust", place)


def indicator(name: str, value: float, threshold: float, evidence: str) -> Indicator:
    """Return an indicator that triggers above its threshold."""
    return Indicator(name, float(value), threshold, bool(value > threshold), evidence)


def probe_indicators(
    probes: ProbeSet, target: int | None = None, *, has_enough_label_queries: bool = False
) -> Iterator[Indicator]:
    """Yield the indicators that need further queries to the model. The probe set must not be empty.

    The attempts to break it again (random points, one step, one restart, unlimited eps) are skipped in
    targeted runs.

    Args:
        probes: Examples that are classified correctly.
        target: The class that the attacks aimed at, if they did.
        has_enough_label_queries: Whether an attack by labels alone had enough queries on the unbroken
            examples, so that missing scores do not matter.
    """
    yield from _outputs(probes)
    left = probes.unbroken_only()
    by_scores = probes.access == "scores" and not has_enough_label_queries
    if len(left.x) and (target is None or by_scores):
        yield from _random(probes, left, target, by_scores=by_scores)
    climbable = threat_name(probes.threat.spec) in PGD.supports or not isinstance(
        probes.threat, ParametricThreat
    )
    if probes.access == "gradients" and climbable and probes.threat.eps:
        yield from _gradients(probes)
        if target is None:
            yield from _attempts(probes, left)


@torch.no_grad()
def _outputs(probes: ProbeSet) -> Iterator[Indicator]:
    """Query the unchanged examples several times, and look at the outputs."""
    passes = torch.stack([probes.model(probes.x) for _ in range(PASSES)]).double()
    unit = passes / passes.norm(dim=2, keepdim=True).clamp(min=1e-300)
    spread = (unit.amax(0) - unit.amin(0)).amax().nan_to_num(torch.inf)
    yield indicator(
        "randomness between calls",
        float(spread),
        1e-4,
        f"outputs for the same examples differ between calls, by up to {float(spread):.2g} of a logit's size",
    )
    if probes.access != "gradients":  # no softmax stands between an attack on scores and what it compares
        return
    logits = passes[0]
    alike = _like_probabilities(logits)
    yield indicator(
        "outputs that look like probabilities",
        float(alike.double().mean()),
        0.5,
        f"{_share(alike)} of the outputs are positive and have one sum: give logits, or their logarithm",
    )
    chances = logits.float().softmax(1).scatter(1, probes.y[:, None], 0.0).amax(1)
    yield indicator(
        "saturated outputs",
        float((chances == 0).double().mean()),
        0.05,
        f"the cross-entropy has no slope left on {_share(chances == 0)} of the examples",
    )


def _like_probabilities(logits: Tensor) -> Tensor:
    """Return which rows (n,) bool of outputs (n, K) are nowhere negative and have the sum of all others.

    Logits far above zero have nearly one sum, too, beside which they hardly differ; probabilities do.
    """
    sums = logits.sum(1)
    alike = (logits >= 0).all(1) & (sums > 0) & ((sums / sums.median() - 1).abs() < 1e-5)
    return alike & (logits.amax() - logits.amin() > 1e-3 * sums)


@torch.no_grad()
def _random(probes: ProbeSet, left: ProbeSet, target: int | None, *, by_scores: bool) -> Iterator[Indicator]:
    """Try random points of the threat on the unbroken examples, and look at whether their scores move."""
    room, draw = left.threat.projection_cache(left.x), left.draw("random")
    targets = None if target is None else torch.full_like(left.y, target)
    goal, rows = Goal(left.y, targets), torch.arange(len(left.x), device=left.x.device)
    broken = torch.zeros(len(left.x), dtype=torch.bool, device=left.x.device)
    margins, images = list[Tensor](), list[Tensor]()
    first: Tensor | None = None
    for number in range(RANDOM[probes.access]):
        z = left.threat.sample(left.x, draw.fold_in(number), room)
        image = to_image(left.threat, z, left.x)
        logits = left.model(image)
        hit = goal.is_adversarial(logits, rows)
        new = (hit & ~broken).reshape(-1, *[1] * (z.ndim - 1))
        first, broken = z if first is None else torch.where(new, z, first), broken | hit
        margins.append(goal.margin(logits, rows))
        images += [image] if len(images) < 3 else []
    if target is None:
        many = int(broken.sum())
        if first is not None:
            left.add_witnesses("random points", broken, first)
        yield indicator(
            "random points beat the attacks",
            many / len(probes.x),
            0.0,
            f"random points broke {many} of {len(left.x)} examples that the attacks left",
        )
    if by_scores:
        # where the points themselves are alike (eps = 0, a threat of few points), no score has to move
        differ = torch.stack([rows_differ(one, other) for one, other in combinations(images, 2)]).all(0)
        ordered = torch.stack(margins).sort(0).values
        flat = differ & ((ordered[1:] != ordered[:-1]).sum(0) <= 1)
        if not isinstance(left.threat, ParametricThreat):
            flat |= differ & _follow_low_digit(left.model, goal, images[:2], margins[:2])
        yield indicator(
            "scores do not move",
            float(flat.sum()) / len(probes.x),
            0.05,
            f"at random points the scores of {int(flat.sum())} of {len(probes.x)} examples take no more than "
            "two values, or move by a low digit alone, which shows no attack the way: use --attack "
            "hopskipjump, or give unrounded scores",
        )


def _follow_low_digit(model: Model, goal: Goal, points: list[Tensor], margins: list[Tensor]) -> Tensor:
    """Return which examples (n,) bool have scores that move as far on a tenth of a way as on the whole.

    The low digit of a rounded score moves so, which shows no attack the way; it is none where the scores of
    most examples move by less on the tenth, or by no more than rounding on the whole.

    Args:
        model: The model under attack.
        goal: Says what is wanted of each example.
        points: Two points for each example (n, *S).
        margins: The margins there (n,).
    """
    (start, end), (first, last) = points, (margin.double() for margin in margins)
    rows = torch.arange(len(start), device=start.device)
    near = goal.margin(model(torch.lerp(start, end, TENTH)), rows).double()
    whole = (last - first).abs()
    by_rounding = whole <= 32 * torch.finfo(torch.float32).eps * first.abs()
    ratio = torch.where(by_rounding, 0.0, (near - first).abs() / whole).nan_to_num(0.0)
    return (ratio > 0.5) & (ratio.median() > 0.5)


def _gradients(probes: ProbeSet) -> Iterator[Indicator]:
    """Look at the gradient at a random point, and at how far ascent gets."""
    try:
        heights, slopes = _climb(probes)
    except ModelError as error:
        yield indicator("zero gradients", 1.0, 0.05, f"there is no gradient: {error}")
        return
    zero, wild = slopes == 0, ~slopes.isfinite()
    yield indicator(
        "zero gradients",
        float(zero.double().mean()),
        0.05,
        f"the gradient is zero on {_share(zero)} of the examples",
    )
    usual = slopes[~zero & ~wild]
    ratio = torch.inf if wild.any() else float(usual.max() / usual.median()) if len(usual) else 0.0
    yield indicator(
        "exploding gradients", ratio, 1e6, f"the largest gradient is {ratio:.2g} times the usual one"
    )
    best = heights.nan_to_num(-torch.inf).cummax(0).values
    flat = ~(best[-1] > heights[0] + 1e-6 * heights[0].abs())
    yield indicator(
        "loss not rising",
        float(flat.double().mean()),
        0.1,
        f"{STEPS} steps of ascent did not raise the loss on {_share(flat)} of the examples",
    )
    risen = best[-1] - heights[0]
    late = ((best[-1] - best[-1 - STEPS // 10]) / risen)[(risen > 0) & risen.isfinite()]
    part = float(late.mean()) if len(late) else 0.0
    yield indicator(
        "loss still rising",
        part,
        0.05,
        f"the last tenth of the steps brought {100 * part:.0f} % of the rise: more steps would find more",
    )


def _climb(probes: ProbeSet) -> tuple[Tensor, Tensor]:
    """Return margins (STEPS + 1, n) along an ascent that never stops, and first gradient norms (n,)."""
    threat, x, rows = probes.threat, probes.x, torch.arange(len(probes.x), device=probes.x.device)
    meter, room = CountedModel(probes.model, probes.y), threat.projection_cache(probes.x)
    image = (lambda z: to_image(threat, z, x)) if isinstance(threat, ParametricThreat) else None
    z = threat.sample(x, probes.draw("ascent"), room)
    heights, slopes = [], torch.zeros(len(x), dtype=torch.float64)
    for number, length in enumerate(cosine_step_sizes(threat.eps, STEPS, 2.0)):
        _, height, gradient = meter.value_and_grad(
            z, rows, lambda logits, which: margin(logits, probes.y[which]), image
        )
        heights.append(height.double())
        if not number:
            slopes = gradient.double().flatten(1).norm(dim=1)
        z = ascent_step(threat, length, z, gradient, x, room)
    heights.append(margin(meter.logits(to_image(threat, z, x), rows), probes.y).double())
    return torch.stack(heights), slopes


def _attempts(probes: ProbeSet, left: ProbeSet) -> Iterator[Indicator]:
    """One step, another start, and a change without limit."""
    count, kind = len(probes.x), threat_name(probes.threat.spec)
    single: Attack | None = next((one() for one in (FGSM, FGM) if kind in one.supports), None)
    if len(left.x) and single is not None:
        many = _count_beaten(single, left, "one step")
        yield indicator(
            "one step beats many",
            many / count,
            0.02,
            f"one step broke {many} of {len(left.x)} examples that the attacks left",
        )
    if kind not in PGD.supports:
        return
    if len(left.x):
        many = _count_beaten(PGD(STEPS), left, "restart")
        yield indicator(
            "restarts still help",
            many / count,
            0.02,
            f"one more start broke {many} of {len(left.x)} examples that the attacks left",
        )
    if len(left.x) and kind in FMN.supports:
        many = _count_beaten(FMN(2 * STEPS), left, "smallest")
        yield indicator(
            "search for the smallest change beats the attacks",
            many / count,
            0.05,
            f"a search for the smallest change broke {many} of {len(left.x)} examples that the attacks left",
        )
    whole = whole_box_threat(probes.threat, probes.x)
    if whole is not None:
        rest = 1 - float(_run_attack(PGD(STEPS), probes, whole, "unlimited").success.double().mean())
        yield indicator(
            "accuracy does not fall to nothing",
            rest,
            0.1,
            f"{100 * rest:.0f} % of the examples are unbroken even where every value may change freely",
        )


def gradient_fails(probes: ProbeSet) -> Tensor:
    """Return which examples (n,) bool PGD cannot break."""
    return ~_run_attack(PGD(2 * STEPS, restarts=2), probes, probes.threat, "check").success


def _count_beaten(attack: Attack, left: ProbeSet, place: str) -> int:
    """Return how many of the unbroken examples an attack breaks; what it finds are witnesses."""
    outcome = _run_attack(attack, left, left.threat, place)
    left.add_witnesses(
        attack.name, outcome.success, outcome.adversarial if outcome.params is None else outcome.params
    )
    return int(outcome.success.sum())


def _run_attack(
    attack: Callable[..., AttackOutcome], probes: ProbeSet, threat: Threat, place: str
) -> AttackOutcome:
    return attack(probes.model, probes.x, probes.y, threat, seed=probes.draw(place).seed, ids=probes.ids)


def whole_box_threat(threat: Threat, x: Tensor) -> Threat | None:
    """Return a ball of the same kind so large that it holds the whole box around each ``x``.

    None for a parametric threat, which has no such size.
    """
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
