"""The smoothed model as the subject of its own bracket: it is certified by votes, and attacked as it is, never through its base."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from quintain.attacks.inner_maximization import maximize_loss
from quintain.certify.smoothing import SmoothedClassifier
from quintain.core.progress import Progress, no_progress
from quintain.core.seeds import derive_seed
from quintain.data.dataset import Dataset
from quintain.evaluate.brackets import bracket_claims
from quintain.evaluate.estimated import PAIRS, estimated
from quintain.evaluate.examples import ball_of, examples, rising
from quintain.evaluate.proved import Proved
from quintain.evaluate.subject import Subject, tally
from quintain.results.artifacts import ModelFile
from quintain.results.records import Claim
from quintain.results.robustness_records import AttackedModel, AttackRow, CertifiedModel
from quintain.threats.l2 import L2
from quintain.threats.threat import contains

RATE = 1.0
"""First step of the attack, as a share of eps."""


@dataclass(frozen=True, slots=True)
class Smoothing:
    """How a model is smoothed, certified and attacked.

    Args:
        sigma: Noise.
        noise_samples: For each certificate.
        examples: How many of the examples, drawn by the seed; 0 for all.
        judged: Noise samples for each verdict on an attacked example.
        steps: Gradients of the attack.
    """

    sigma: float
    noise_samples: int = 10_000
    examples: int = 100
    judged: int = 1_000
    steps: int = 20


def smoothed_bracket(
    base: Subject,
    data: Dataset,
    threats: Sequence[L2],
    plan: Smoothing,
    *,
    seed: int = 0,
    delivered: bool = False,
    progress: Progress = no_progress,
) -> tuple[AttackedModel, CertifiedModel, tuple[Claim, ...]]:
    """Certify and attack the smoothed form of a model.

    The certified side holds for each example with probability ``1 - alpha``; an attacked example counts as broken only if the vote under
    fresh draws answers another class at the same level, so that its verdict may be false once in each vote: on the unchanged example and
    at each size. An example on which the vote is undecided counts as standing; one that is certified although a vote on the unchanged
    example answers another class is a crossing. A base that is only asked for answers is certified as any other, and attacked by
    gradients that are estimated from its answers (``estimated``), which finds less.

    Args:
        base: The model under the noise.
        data: Examples to draw from.
        threats: L2 balls.
        plan: The settings.
        seed: Of examples and draws.
        delivered: Whether requirements that name no model mean this one.
        progress: Shows bars.
    """
    some = data.sample(plan.examples, seed=derive_seed(seed, "examples"))
    smooth = SmoothedClassifier(base.model, plan.sigma, noise_samples=plan.noise_samples, surrogate_seed=derive_seed(seed, "surrogate"))
    x, y = some.batch(torch.arange(len(some)))
    clock = time.perf_counter()
    certificate = smooth.certify(x, y, seed=derive_seed(seed, "certify"), progress=progress)
    seconds = time.perf_counter() - clock
    radius, labels = certificate.radius, some.labels
    assert radius is not None
    votes = smooth.predict(x, seed=derive_seed(seed, "clean"), noise_samples=plan.judged).numpy()
    wrong = (votes >= 0) & (votes != labels)
    answered = np.where(wrong, votes, labels)
    attacked, broken = _attack(smooth, some, threats, plan, wrong, seed, progress)
    failed = certificate.failed.numpy()
    subject = Subject(
        base.model,
        ModelFile("smoothed", f"smoothed, sigma {plan.sigma:g}", smooth.hash, base.file.num_parameters, base.file.path, base.file.sha256),
    )
    unchanged = np.where(wrong, 0.0, math.inf)
    proved = Proved(
        examples(some, answered, radius.numpy(), unchanged, failed), "randomized smoothing", certificate.assumptions, seconds, smooth.alpha
    )
    attacks = AttackedModel(
        subject.name, subject.file.title, attacked, examples(some, answered, np.zeros(len(some)), broken, failed), ball_of(threats)
    )
    doubt = smooth.alpha * (1 + len(threats))
    both, claims = bracket_claims(subject, some, threats, proved=proved, attacked=attacks, doubt=doubt, delivered=delivered)
    return attacks, both, claims


def _attack(
    smooth: SmoothedClassifier, data: Dataset, threats: Sequence[L2], plan: Smoothing, wrong: np.ndarray, seed: int, progress: Progress
) -> tuple[tuple[AttackRow, ...], np.ndarray]:
    """Each example is pushed to the end of the ball, then judged by a vote of fresh draws.

    It is pushed along gradients of the surrogate, or where the base gives none, along estimates of them from its answers.
    """
    x, y = data.batch(torch.arange(len(data)))
    radius = np.where(wrong, 0.0, math.inf)
    rows = []
    sizes = rising(threats)
    asked = smooth.access != "gradients"
    name = "pgd on the vote, by gradients estimated from answers" if asked else "pgd on the vote"
    with progress.bar("attack smoothed", len(sizes)) as advance:
        for threat in sizes:
            standing = torch.from_numpy(np.flatnonzero(np.isinf(radius)))
            clock = time.perf_counter()
            origin, labels = x[standing], y[standing]
            target = estimated(smooth, derive_seed(seed, "estimated", threat.spec)) if asked else smooth
            pushed = maximize_loss(
                target, origin, labels, threat, steps=plan.steps, rel_step_size=RATE, seed=derive_seed(seed, "ascend"), ids=standing
            )
            votes = smooth.predict(pushed, seed=derive_seed(seed, "judge", threat.spec), ids=standing, noise_samples=plan.judged)
            fallen = (votes >= 0) & (votes != labels) & contains(threat, pushed, origin)
            radius[standing[fallen].numpy()] = threat.measure(pushed, origin)[fallen].numpy()
            kept = tally(radius > threat.eps, data.labels, data.classes)
            cost = plan.steps * len(standing) / len(data)
            calls = (2 * PAIRS * cost, 0.0) if asked else (cost, cost)
            rows.append(AttackRow(name, threat.spec, kept, *calls, time.perf_counter() - clock))
            advance(1)
    return tuple(rows), radius
