"""Certificates from below, attacks from above: the accuracy bracket of a model."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from quintain.certify.outcome import Certifier
from quintain.core.errors import SettingError
from quintain.core.progress import Progress, no_progress
from quintain.data.dataset import Dataset
from quintain.evaluate.attacked import attack_models
from quintain.evaluate.campaign import AttackFn
from quintain.evaluate.examples import ball_of, rising
from quintain.evaluate.proved import Proved, prove, strongest
from quintain.evaluate.subject import Subject, answers, described, tally
from quintain.models.classifier import Classifier
from quintain.results.bounds import Bound, Bracket
from quintain.results.evidence import CountEvidence
from quintain.results.per_example import PerExample
from quintain.results.quantity import Basis, Metric, Quantity, Side
from quintain.results.records import Claim
from quintain.results.robustness_records import AttackedModel, CertifiedModel
from quintain.threats.threat import Threat

CURVE_POINTS = 49


def bracket_claims(
    subject: Subject,
    data: Dataset,
    threats: Sequence[Threat],
    *,
    proved: Proved | None = None,
    attacked: AttackedModel | None = None,
    doubt: float = 0.0,
    delivered: bool = False,
) -> tuple[CertifiedModel, tuple[Claim, ...]]:
    """Both sides of a model put together, one claim a size; a side that is not known is trivial.

    Args:
        subject: The model.
        data: The examples that both sides looked at.
        threats: The sizes.
        proved: The lower side.
        attacked: The upper side; without it, unchanged examples are the only witnesses.
        doubt: Chance that one break is false; 0 for witnesses.
        delivered: Whether requirements that name no model mean this one.
    """
    sizes = rising(threats)
    both = _together(proved, attacked)
    methods = " + ".join(dict.fromkeys(row.attack for row in (attacked.rows if attacked else ()))) or "unchanged examples"
    claims = []
    for threat in sizes:
        of = Quantity(Metric.ROBUST_ACCURACY, subject.file.model_hash, data.hash, threat.spec)
        below, above = both.certified_counts(threat.eps, data.classes), both.unbroken_counts(threat.eps, data.classes)
        lower = Bound.trivial(of, Side.LOWER)
        if proved is not None:
            evidence = CountEvidence(below.num_correct, below.num_examples, proved.alpha)
            basis = Basis.STATISTICAL if proved.alpha else Basis.PROOF
            lower = Bound(of, Side.LOWER, below.accuracy, basis, evidence, proved.method, proved.assumes)
        evidence = CountEvidence(above.num_correct, above.num_examples, doubt)
        upper = Bound(of, Side.UPPER, above.accuracy, Basis.STATISTICAL if doubt else Basis.WITNESS, evidence, methods)
        bracket = Bracket(lower, upper, above.majority_accuracy, len(both.contradictory_ids(threat.eps)), sum(both.invalid))
        title = f"Robust accuracy, {subject.file.title}"
        claims.append(Claim(f"{subject.name}:{threat.spec}", title, subject.name, bracket, delivered, below, above))
    curve = tuple(float(size) for size in np.linspace(0, sizes[-1].eps, CURVE_POINTS))
    asked = tuple(threat.eps for threat in sizes)
    method, seconds = (proved.method, proved.seconds) if proved else ("", 0.0)
    return CertifiedModel(subject.name, subject.file.title, method, ball_of(sizes), both, asked, data.classes, curve, seconds), tuple(
        claims
    )


def both_sides(
    subject: Subject,
    data: Dataset,
    threats: Sequence[Threat],
    *,
    attacks: Mapping[str, AttackFn],
    certifiers: Mapping[str, Certifier],
    seed: int = 0,
    delivered: bool = True,
    progress: Progress = no_progress,
) -> tuple[AttackedModel, CertifiedModel, tuple[Claim, ...]]:
    """Attack a model by every attack and prove it by every certifier, at every size, and put both sides together."""
    attacked = attack_models(subject, data, threats, attacks, seed=seed, progress=progress)
    proofs = [prove(subject, data, threats, one, method=name, progress=progress) for name, one in certifiers.items()]
    both, claims = bracket_claims(subject, data, threats, proved=strongest(proofs), attacked=attacked, delivered=delivered)
    return attacked, both, claims


def robustness(
    model: Classifier,
    data: Dataset,
    threat: Threat,
    *,
    attacks: Sequence[AttackFn],
    certifiers: Sequence[Certifier],
    seed: int = 0,
    progress: Progress = no_progress,
) -> Bracket:
    r"""The robust accuracy of a model on some examples, from both sides.

    .. math:: certified \le E\,[\forall z \in ball(x): f(z) = y] \le attacked

    Args:
        model: The classifier.
        data: Labelled examples.
        threat: What may be changed.
        attacks: From ``quintain.attacks``, such as ``[PGD()]``.
        certifiers: From ``quintain.certify``, such as ``[IntervalBounds()]``.
        seed: Of the attacks' draws.
        progress: Shows bars.

    Guarantee: both sides hold for these examples; ``Bracket.limits`` gives what they say of the population.
    """
    _, _, (claim,) = both_sides(
        described(model, model.name, model.name),
        data,
        [threat],
        attacks={_name(number, attack): attack for number, attack in enumerate(attacks)},
        certifiers={_name(number, certifier): certifier for number, certifier in enumerate(certifiers)},
        seed=seed,
        progress=progress,
    )
    return claim.bracket


def _name(number: int, method: object) -> str:
    return f"{type(method).__name__}-{number}"


def _together(proved: Proved | None, attacked: AttackedModel | None) -> PerExample:
    if proved is None or attacked is None:
        known = proved.examples if proved else attacked.examples if attacked else None
        if known is None:
            raise SettingError("neither proofs nor attacks; expected at least one side of the bracket")
        return known
    failed = tuple(a or b for a, b in zip(proved.examples.invalid, attacked.examples.invalid, strict=True))
    return replace(proved.examples, broken_radius=attacked.examples.broken_radius, invalid=failed)


def clean_claim(subject: Subject, data: Dataset, *, predicted: np.ndarray | None = None, delivered: bool = False) -> Claim:
    """Accuracy on unchanged examples: both sides are the same count, but for examples that give no number.

    Args:
        subject: The model.
        data: The examples.
        predicted: Its answers (N,), -1 for no number, where they are known; it is asked if not given.
        delivered: Whether requirements that name no model mean this one.
    """
    predicted = answers(subject.model, data) if predicted is None else predicted
    right, failed = predicted == data.labels, predicted < 0
    below, above = (tally(counted, data.labels, data.classes) for counted in (right, right | failed))
    of = Quantity(Metric.CLEAN_ACCURACY, subject.file.model_hash, data.hash)
    lower = Bound(of, Side.LOWER, below.accuracy, Basis.WITNESS, CountEvidence(below.num_correct, below.num_examples), "counted")
    upper = Bound(of, Side.UPPER, above.accuracy, Basis.WITNESS, CountEvidence(above.num_correct, above.num_examples), "counted")
    bracket = Bracket(lower, upper, above.majority_accuracy, num_invalid=int(failed.sum()))
    return Claim(f"{subject.name}:clean", f"Accuracy, {subject.file.title}", subject.name, bracket, delivered, below, above)
