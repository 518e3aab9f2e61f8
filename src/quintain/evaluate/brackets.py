"""Put certificates (lower bound) and attacks (upper bound) of a model together into brackets."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from quintain.certify.outcome import Certifier
from quintain.core.errors import SettingError
from quintain.core.progress import Progress, no_progress
from quintain.data.dataset import Dataset
from quintain.evaluate.certify import Certification, best_certification, certify_examples
from quintain.evaluate.evasion.attacks import run_attacks
from quintain.evaluate.evasion.job import AttackFn
from quintain.evaluate.model import EvaluatedModel, named_model, predictions
from quintain.models.classifier import Classifier
from quintain.results.bounds import Bound, Bracket
from quintain.results.class_counts import ClassCounts
from quintain.results.evidence import CountEvidence
from quintain.results.literals import AIMED_AT, CLEAN_ERRORS_ONLY
from quintain.results.per_example import PerExample
from quintain.results.quantity import Basis, Metric, Quantity, Side
from quintain.results.records import Claim
from quintain.results.robustness_records import AttackedModel, CertifiedModel
from quintain.threats.arguments import to_threat
from quintain.threats.sizes import common_threat_type, sorted_by_size
from quintain.threats.threat import Threat

CURVE_POINTS = 49


def robustness_claims(
    subject: EvaluatedModel,
    data: Dataset,
    threats: Sequence[Threat],
    *,
    certification: Certification | None = None,
    attacked: AttackedModel | None = None,
    break_error_probability: float = 0.0,
    primary: bool = False,
) -> tuple[CertifiedModel, tuple[Claim, ...]]:
    """Put both bounds on a model's robust accuracy together, one claim for each eps.

    An unknown bound is trivial.

    Args:
        subject: The model.
        data: The examples that both bounds are about.
        threats: Threats of one type.
        certification: What the lower bound rests on.
        attacked: What the upper bound rests on; without it, clean errors are the only witnesses.
        break_error_probability: Probability that one break is wrong; 0 for witnesses.
        primary: Whether requirements that name no model mean this one.
    """
    sizes = sorted_by_size(threats)
    both = known_examples(certification, attacked)
    attacks = dict.fromkeys(row.attack for row in (attacked.rows if attacked else ()))
    aim = "" if attacked is None or attacked.target_class is None else f"{AIMED_AT}{attacked.target_class}"
    names = [f"{name}{aim}" for name in attacks]
    if certification is not None and certification.counterexamples:
        names.append(certification.method)
    methods = " + ".join(names) or CLEAN_ERRORS_ONLY
    claims = []
    for threat in sizes:
        quantity = Quantity(Metric.ROBUST_ACCURACY, subject.file.model_hash, data.hash, threat.spec)
        below, above = (
            both.certified_counts(threat.eps, data.num_classes),
            both.unbroken_counts(threat.eps, data.num_classes),
        )
        lower = Bound.trivial(quantity, Side.LOWER)
        if certification is not None:
            lower = Bound(
                quantity=quantity,
                side=Side.LOWER,
                value=below.accuracy,
                basis=Basis.STATISTICAL if certification.alpha else Basis.PROOF,
                evidence=CountEvidence(below.num_correct, below.num_examples, certification.alpha),
                method=certification.method,
                assumptions=certification.assumptions,
            )
        upper = Bound(
            quantity=quantity,
            side=Side.UPPER,
            value=above.accuracy,
            basis=Basis.STATISTICAL if break_error_probability else Basis.WITNESS,
            evidence=CountEvidence(above.num_correct, above.num_examples, break_error_probability),
            method=methods,
        )
        num_contradictory, num_invalid = len(both.contradictory_ids(threat.eps)), sum(both.invalid)
        claims.append(
            Claim(
                name=f"{subject.name}:{threat.spec}",
                title=f"Robust accuracy, {subject.file.title}",
                model=subject.name,
                bracket=Bracket(lower, upper, above.majority_accuracy, num_contradictory, num_invalid),
                primary=primary,
                lower_counts=below,
                upper_counts=above,
            )
        )
    certified = CertifiedModel(
        model=subject.name,
        title=subject.file.title,
        certifier=certification.method if certification else "",
        threat_type=common_threat_type(sizes),
        examples=both,
        requested_eps=tuple(threat.eps for threat in sizes),
        num_classes=data.num_classes,
        curve_eps=tuple(float(eps) for eps in np.linspace(0, sizes[-1].eps, CURVE_POINTS)),
        seconds=certification.seconds if certification else 0.0,
        noise_samples=certification.noise_samples if certification else (),
    )
    return certified, tuple(claims)


def attack_and_certify(
    subject: EvaluatedModel,
    data: Dataset,
    threats: Sequence[Threat],
    *,
    attacks: Mapping[str, AttackFn],
    certifiers: Mapping[str, Certifier],
    seed: int = 0,
    primary: bool = True,
    checkpoint_dir: Path | None = None,
    progress: Progress = no_progress,
) -> tuple[AttackedModel, CertifiedModel, tuple[Claim, ...]]:
    """Run every attack and every certifier on a model, at every eps, and put both bounds together.

    Args:
        subject, data, threats, attacks, seed, checkpoint_dir, progress: As ``run_attacks`` takes them.
        certifiers: By the names that records have.
        primary: Whether requirements that name no model mean this one.
    """
    attacked = run_attacks(
        subject, data, threats, attacks, seed=seed, checkpoint_dir=checkpoint_dir, progress=progress
    )
    # A folder holds the certificates of one certifier.
    kept = checkpoint_dir if len(certifiers) == 1 else None
    certifications = [
        certify_examples(
            subject, data, threats, certifier, method=name, checkpoint_dir=kept, progress=progress
        )
        for name, certifier in certifiers.items()
    ]
    best = best_certification(certifications)
    both, claims = robustness_claims(
        subject, data, threats, certification=best, attacked=attacked, primary=primary
    )
    return attacked, both, claims


def robust_accuracy(
    model: Classifier,
    data: Dataset,
    threat: Threat | str,
    *,
    attacks: Sequence[AttackFn],
    certifiers: Sequence[Certifier],
    seed: int = 0,
    progress: Progress = no_progress,
) -> Bracket:
    r"""Return both bounds on the robust accuracy of a model on some examples.

    .. math:: certified \le E\,[\forall z \in ball(x): f(z) = y] \le attacked

    Args:
        model: The classifier.
        data: Labeled examples.
        threat: What may be changed, or its text, such as ``"linf:8/255"``.
        attacks: From ``quintain.attacks``, such as ``[PGD()]``.
        certifiers: From ``quintain.certify``, such as ``[IntervalBounds()]``.
        seed: Seed of the attacks' random numbers.
        progress: Shows bars.

    Guarantee: both bounds hold for these examples; ``Bracket.confidence_interval`` says what they tell of the
    population.
    """
    _, _, (claim,) = attack_and_certify(
        named_model(model, model.name, model.name),
        data,
        [to_threat(threat)],
        attacks={_name(number, attack): attack for number, attack in enumerate(attacks)},
        certifiers={_name(number, certifier): certifier for number, certifier in enumerate(certifiers)},
        seed=seed,
        progress=progress,
    )
    return claim.bracket


def _name(number: int, method: object) -> str:
    return f"{type(method).__name__}-{number}"


def known_examples(certification: Certification | None, attacked: AttackedModel | None) -> PerExample:
    """Return both radii of each example, what a certifier broke counted as broken."""
    if certification is None or attacked is None:
        known = certification.examples if certification else attacked.examples if attacked else None
        if known is None:
            raise SettingError("neither certificates nor attacks; expected at least one side of the bracket")
        return known
    certified, broken = certification.examples, attacked.examples
    invalid = tuple(a or b for a, b in zip(certified.invalid, broken.invalid, strict=True))
    radii = tuple(map(min, certified.broken_radius, broken.broken_radius))
    return replace(certified, broken_radius=radii, invalid=invalid)


def clean_accuracy_claim(
    subject: EvaluatedModel, data: Dataset, *, predicted: np.ndarray | None = None, primary: bool = False
) -> Claim:
    """Return the claim on clean accuracy: both bounds are the same count, but for examples with a NaN output.

    Args:
        subject: The model.
        data: The examples.
        predicted: Its predictions (N,), -1 for NaN, where they are known; the model is queried if not given.
        primary: Whether requirements that name no model mean this one.
    """
    predicted = predictions(subject.model, data) if predicted is None else predicted
    correct, invalid = predicted == data.labels, predicted < 0
    below, above = (
        ClassCounts.of(counted, data.labels, data.num_classes) for counted in (correct, correct | invalid)
    )
    quantity = Quantity(Metric.CLEAN_ACCURACY, subject.file.model_hash, data.hash)
    lower, upper = (
        Bound(
            quantity=quantity,
            side=side,
            value=counts.accuracy,
            basis=Basis.WITNESS,
            evidence=CountEvidence(counts.num_correct, counts.num_examples),
            method="counted",
        )
        for side, counts in ((Side.LOWER, below), (Side.UPPER, above))
    )
    return Claim(
        name=f"{subject.name}:clean",
        title=f"Accuracy, {subject.file.title}",
        model=subject.name,
        bracket=Bracket(lower, upper, above.majority_accuracy, num_invalid=int(invalid.sum())),
        primary=primary,
        lower_counts=below,
        upper_counts=above,
    )
