"""Certify and attack a smoothed model, which is a model of its own.

It is attacked as it is, never through its base.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from quintain.attacks.inner_maximization import maximize_loss
from quintain.attacks.outcome import Model
from quintain.certify.outcome import CertificateOutcome
from quintain.certify.randomized_smoothing import DerivingCertifier
from quintain.certify.smoothing import SmoothedClassifier
from quintain.core.progress import Progress, no_progress
from quintain.core.seeds import derive_seed
from quintain.data.class_samples import missing_classes, name_classes
from quintain.data.dataset import Dataset
from quintain.evaluate.brackets import robustness_claims
from quintain.evaluate.certificate_chunks import (
    CertificateChunk,
    CertificateStore,
    InnerProgress,
    certify_in_chunks,
)
from quintain.evaluate.certify import Certification
from quintain.evaluate.estimated_gradients import NOISE_PAIRS, with_estimated_gradients
from quintain.evaluate.model import EvaluatedModel, per_example
from quintain.evaluate.pacing import Pace, work_clock
from quintain.models.memory import in_fitting_parts
from quintain.models.precision import in_full_precision
from quintain.results.class_counts import ClassCounts
from quintain.results.records import Claim
from quintain.results.robustness_records import AttackedModel, AttackRow, CertifiedModel
from quintain.threats.sizes import common_threat_type, sorted_by_size
from quintain.threats.threat import Threat, contains

REL_STEP_SIZE = 1.0
"""First step size of the attack, relative to eps."""


@dataclass(frozen=True, slots=True)
class SmoothingSettings:
    """How a model is smoothed, certified and attacked.

    Args:
        certifier: Makes the smoothed model.
        num_examples: How many of the examples, drawn by the seed; 0 for all.
        vote_samples: Noise samples for each prediction on an attacked example.
        steps: Gradient steps of the attack.
        attack_certified: Whether examples are attacked at sizes that are certified, too: that costs more, and
            may find a wrong certificate.
    """

    certifier: DerivingCertifier
    num_examples: int = 100
    vote_samples: int = 1_000
    steps: int = 20
    attack_certified: bool = True


def smoothed_sample(data: Dataset, settings: SmoothingSettings, *, seed: int) -> Dataset:
    """Return the examples on which a smoothed model is certified and attacked: a random sample."""
    return data.sample(settings.num_examples, seed=derive_seed(seed, "examples"))


def smoothed_sample_notes(data: Dataset, settings: SmoothingSettings, *, seed: int) -> tuple[str, ...]:
    """Say that the smoothed model was evaluated on a part of the examples, and which classes that leaves out.

    Args:
        data, settings, seed: As for ``certify_smoothed``.
    """
    sample = smoothed_sample(data, settings, seed=seed)
    if len(sample) == len(data):
        return ()
    missing = missing_classes(data, sample)
    without = f", with no example of {name_classes(missing)}" if missing else ""
    return (
        f"the smoothed model was certified and attacked on {len(sample):,} of the {len(data):,} examples, a "
        f"random sample{without}",
    )


@in_full_precision
def certify_smoothed(
    base: EvaluatedModel,
    data: Dataset,
    threats: Sequence[Threat],
    settings: SmoothingSettings,
    *,
    seed: int = 0,
    primary: bool = False,
    checkpoint_dir: Path | None = None,
    progress: Progress = no_progress,
) -> tuple[AttackedModel, CertifiedModel, tuple[Claim, ...]]:
    """Certify and attack the smoothed form of a model.

    Each certificate is wrong with probability at most ``alpha``. An attacked example counts as broken only if
    the smoothed model, with new noise samples, predicts another class at the same confidence. This is tested
    once on the clean example and once per threat, so a break is wrong with probability at most ``alpha * (1 +
    number of threats)``. An example on which the smoothed model abstains counts as unbroken; one that is
    certified although the clean prediction is another class counts as a contradiction. A base that gives no
    gradients is certified like any other, and attacked by gradients that are estimated from its outputs
    (``with_estimated_gradients``), which finds less.

    Args:
        base: The model under the noise.
        data: Examples to draw from.
        threats: Balls that the certifier supports.
        settings: How the model is smoothed, certified and attacked.
        seed: Seed of the examples and of the noise.
        primary: Whether requirements that name no model mean this one.
        checkpoint_dir: A folder for finished certificates, so that the same call resumes after an
            interruption; the predictions and the attack after them are made again.
        progress: Shows bars.
    """
    some = smoothed_sample(data, settings, seed=seed)
    smooth = settings.certifier.derive(base.model, surrogate_seed=derive_seed(seed, "surrogate"))
    x, _ = some.tensors
    certified = _certify(smooth, some, threats, settings, seed, checkpoint_dir, progress)
    labels = some.labels
    votes = smooth.predict(x, seed=derive_seed(seed, "clean"), noise_samples=settings.vote_samples).numpy()
    wrong = (votes >= 0) & (votes != labels)
    predicted = np.where(wrong, votes, labels)
    invalid = certified.failed
    spared = np.zeros(len(some)) if settings.attack_certified else np.where(invalid, 0.0, certified.radius)
    rows, broken = _attack(smooth, some, threats, settings, wrong, spared, seed, progress)
    file = replace(
        base.file, name="smoothed", title=f"smoothed, sigma {smooth.sigma:g}", model_hash=smooth.hash
    )
    subject = EvaluatedModel(base.model, file)
    certification = Certification(
        examples=per_example(
            some, predicted, certified.radius, np.where(wrong, 0.0, math.inf), invalid, certified.abstained
        ),
        method=settings.certifier.title,
        assumptions=tuple(certified.assumptions.tolist()),
        seconds=certified.seconds,
        alpha=smooth.alpha,
        noise_samples=tuple(certified.forwards.tolist()),
    )
    attacked = AttackedModel(
        model=subject.name,
        title=subject.file.title,
        rows=rows,
        examples=per_example(some, predicted, np.zeros(len(some)), broken, invalid),
        threat_type=common_threat_type(threats),
    )
    both, claims = robustness_claims(
        subject,
        some,
        threats,
        certification=certification,
        attacked=attacked,
        break_error_probability=smooth.alpha * (1 + len(threats)),
        primary=primary,
    )
    return attacked, both, claims


def _certify(
    smooth: SmoothedClassifier,
    data: Dataset,
    threats: Sequence[Threat],
    settings: SmoothingSettings,
    seed: int,
    checkpoint_dir: Path | None,
    progress: Progress,
) -> CertificateChunk:
    """Decide the threats' sizes for every example.

    The noise of each follows from its row, so that any split gives the same.
    """
    own, sizes = derive_seed(seed, "certify"), [threat.eps for threat in sorted_by_size(threats)]
    # a size beyond the reach of so few samples is certified for no example, and hinders no smaller one
    radii = [size for size in sizes if size < smooth.max_certifiable_radius] or sizes
    store = pace = None
    if checkpoint_dir is not None:
        store = CertificateStore(
            checkpoint_dir,
            {
                "model": smooth.hash,
                "data": data.hash,
                "certifier": repr(settings.certifier),
                "seed": seed,
                "radii": radii,
            },
        )
        pace = Pace(smallest=1)
    with progress.bar("certificates", len(data)) as advance:
        inner = InnerProgress(advance, progress.set_status)

        def certify(rows: np.ndarray) -> CertificateOutcome:
            x, y = data.batch(rows)
            return smooth.certify(x, y, radii=radii, seed=own, ids=torch.from_numpy(rows), progress=inner)

        return certify_in_chunks(
            certify,
            len(data),
            batch_size=len(data),
            store=store,
            pace=pace,
            advance=advance,
            clock=work_clock(smooth.base_classifier),
        )


def _ascend(
    model: Model,
    origin: Tensor,
    labels: Tensor,
    threat: Threat,
    steps: int,
    seed: int,
    ids: Tensor,
    part: slice,
) -> Tensor:
    """Return the points that gradient ascent ends at, from some of the examples."""
    return maximize_loss(
        model,
        origin[part],
        labels[part],
        threat,
        steps=steps,
        rel_step_size=REL_STEP_SIZE,
        seed=derive_seed(seed, "ascend"),
        ids=ids[part],
    )


def _attack(
    smooth: SmoothedClassifier,
    data: Dataset,
    threats: Sequence[Threat],
    settings: SmoothingSettings,
    wrong: np.ndarray,
    spared: np.ndarray,
    seed: int,
    progress: Progress,
) -> tuple[tuple[AttackRow, ...], np.ndarray]:
    """Attack the smoothed model, then predict each adversarial example with new noise samples.

    The attack follows gradients of the surrogate, or where the base gives none, estimates of them from its
    outputs. No example is attacked at sizes up to ``spared`` (N,), where that is above 0.
    """
    x, y = data.tensors
    radius = np.where(wrong, 0.0, math.inf)
    rows = []
    sizes = sorted_by_size(threats)
    estimated = smooth.access != "gradients"
    name = "pgd on the vote, by gradients estimated from answers" if estimated else "pgd on the vote"
    with progress.bar("attack smoothed", len(sizes)) as advance:
        for threat in sizes:
            unattacked = (spared >= threat.eps) & (spared > 0)
            active = torch.from_numpy(np.flatnonzero(np.isinf(radius) & ~unattacked))
            clock = time.perf_counter()
            origin, labels = x[active], y[active]
            model = (
                with_estimated_gradients(smooth, derive_seed(seed, "estimated", threat.spec))
                if estimated
                else smooth
            )
            ascended = partial(_ascend, model, origin, labels, threat, settings.steps, seed, active)
            parts = in_fitting_parts(ascended, len(active), work="attack on the vote")
            z = torch.cat([origin[:0], *parts])
            vote_seed = derive_seed(seed, "judge", threat.spec)
            votes = smooth.predict(z, seed=vote_seed, ids=active, noise_samples=settings.vote_samples)
            broken = (votes >= 0) & (votes != labels) & contains(threat, z, origin)
            radius[active[broken].numpy()] = threat.measure(z, origin)[broken].numpy()
            cost = settings.steps * len(active) / len(data)
            rows.append(
                AttackRow(
                    attack=name,
                    threat=threat.spec,
                    unbroken_counts=ClassCounts.of(radius > threat.eps, data.labels, data.num_classes),
                    forwards=2 * NOISE_PAIRS * cost if estimated else cost,
                    backwards=0.0 if estimated else cost,
                    seconds=time.perf_counter() - clock,
                )
            )
            advance(1)
    return tuple(rows), radius
