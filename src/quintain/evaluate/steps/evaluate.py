"""Bound a model's robust accuracy from both sides: certify what can be certified, and attack the rest."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from quintain.certify.outcome import Certifier
from quintain.certify.randomized_smoothing import DerivingCertifier
from quintain.core.progress import Progress, no_progress
from quintain.core.registry import Entry, by_default_rank, get_entry
from quintain.core.threat_specs import threat_name
from quintain.data.dataset import Dataset
from quintain.evaluate.brackets import clean_accuracy_claim, robustness_claims
from quintain.evaluate.certify import Certification, certify_examples, refusal_reason
from quintain.evaluate.evasion.job import AttackFn
from quintain.evaluate.model import EvaluatedModel
from quintain.evaluate.open_examples import save_counterexamples
from quintain.evaluate.remaining_examples import certify_remaining
from quintain.evaluate.smoothing import SmoothingSettings, certify_smoothed
from quintain.evaluate.step import StepOutput
from quintain.evaluate.steps.attack import run_attack
from quintain.evaluate.steps.certify import ablated_model, require_supported
from quintain.models.precision import plain_products
from quintain.results.robustness_records import AttackResult, EvaluateResult
from quintain.results.run_layout import UNFINISHED
from quintain.threats.sizes import sorted_by_size
from quintain.threats.threat import Threat

NUM_TRIED = 64
"""Examples that a certifier is tried on before it is run on all, where it was not named."""


def run_evaluate(
    subject: EvaluatedModel,
    data: Dataset,
    threats: Sequence[Threat],
    attacks: Mapping[str, AttackFn],
    *,
    certifier: str = "",
    sigma: float = 0.25,
    noise_samples: int = 10_000,
    band_width: int = 4,
    band_shape: str = "column",
    seed: int = 0,
    folder: Path,
    num_pictures: int = 6,
    max_queries: int | None = None,
    data_options: Mapping[str, str | int | None] | None = None,
    processes: int = 1,
    progress: Progress = no_progress,
) -> StepOutput:
    """Bound a model's robust accuracy from both sides, the cheap side first.

    Every example is certified first; at each size only those that are not certified are attacked. So a wrong
    certificate is found where the same example is attacked at a larger size, and the change that breaks it
    turns out to be smaller than the certified radius. Where no certifier was named, what is then neither
    certified nor broken goes to the first one that takes long, linear bounds, for ``OPEN_SECONDS``.

    Args:
        subject, data, threats, attacks, seed, folder, num_pictures, max_queries, data_options, progress: As
            ``run_attack`` takes them.
        certifier: A registered name; the first that certifies the model itself if not given, and nothing is
            certified, with the reason in the notes, where there is none, it refuses the model, or it
            certifies none of ``NUM_TRIED`` examples at the smallest size.
        sigma, noise_samples, band_width, band_shape: Settings of a certifier that takes them.
        processes: How many certify at once where that takes long, as ``CertifyWorkers`` says.

    Raises:
        SettingError: If a certifier was named that does not support the threats.
        ModelError: If it refuses the model.
    """
    entry = get_entry("certifier", certifier) if certifier else cheapest_certifier(threats)
    unfinished = folder / UNFINISHED
    if entry is not None:
        require_supported(entry, threats)
        if entry.fact("subject") == "ablated":
            subject = ablated_model(subject, entry.build(band_width=band_width, band_shape=band_shape))
        if entry.fact("subject") == "smoothed":
            method = entry.build(sigma=sigma, noise_samples=noise_samples)
            return _evaluate_smoothed(
                subject, data, threats, method, seed=seed, unfinished=unfinished, progress=progress
            )
    certification, reason = _certify(
        subject,
        data,
        threats,
        entry,
        named=bool(certifier),
        unfinished=unfinished,
        processes=processes,
        progress=progress,
    )
    output = run_attack(
        subject,
        data,
        threats,
        attacks,
        certified=None if certification is None else certification.examples,
        seed=seed,
        folder=folder,
        num_pictures=num_pictures,
        max_queries=max_queries,
        data_options=data_options,
        progress=progress,
    )
    assert isinstance(output.result, AttackResult)
    (attacked,) = output.result.models
    more: tuple[str, ...] = ()
    if not certifier:
        certification, more = certify_remaining(
            subject, data, threats, certification, attacked, processes=processes, progress=progress
        )
    if certification is not None:
        save_counterexamples(folder, subject.name, certification)
    both, claims = robustness_claims(
        subject, data, threats, certification=certification, attacked=attacked, primary=True
    )
    clean, *_ = output.claims
    notes = (*((reason,) if reason and certification is None else ()), *more, *output.notes)
    result = EvaluateResult(attacked, both if certification is not None else None)
    return StepOutput(result, (clean, *claims), notes)


def cheapest_certifier(threats: Sequence[Threat], *, derived: bool = False) -> Entry | None:
    """Return the first certifier within the threats, None if there is none.

    Args:
        threats: Threats of one type.
        derived: One that certifies a model which it makes of the given one, not that model itself.
    """
    kinds = {threat_name(threat.spec) for threat in threats}
    able = (entry for entry in by_default_rank("certifier") if kinds <= set(entry.words("supports")))
    return next((entry for entry in able if bool(entry.fact("subject")) is derived), None)


def _certify(
    subject: EvaluatedModel,
    data: Dataset,
    threats: Sequence[Threat],
    entry: Entry | None,
    *,
    named: bool,
    unfinished: Path,
    processes: int,
    progress: Progress,
) -> tuple[Certification | None, str]:
    """Return the certificates of the examples, or why there are none."""
    kinds = ", ".join(dict.fromkeys(threat_name(threat.spec) for threat in threats))
    if entry is None:
        other = cheapest_certifier(threats, derived=True)
        if other is not None:
            return None, (
                f"Nothing is certified: --certifier {other.name} handles {kinds}, of a model that it makes "
                "of this one."
            )
        known = "; ".join(
            f"{one.name}: {', '.join(one.words('supports'))}" for one in by_default_rank("certifier")
        )
        return None, f"Nothing is certified: no certifier handles {kinds} ({known})."
    method = entry.build()
    reason = "" if named else _reason_against(method, entry.name, subject, data, sorted_by_size(threats)[0])
    if reason:
        other = cheapest_certifier(threats, derived=True)
        advice = ""
        if other is not None and f"--certifier {other.name}" not in reason:
            advice = f" --certifier {other.name} certifies a model that it makes of this one."
        return None, f"Nothing is certified, since {reason}.{advice}"
    title = getattr(method, "title", entry.name)
    certification = certify_examples(
        subject,
        data,
        threats,
        method,
        method=title,
        checkpoint_dir=unfinished,
        processes=processes,
        progress=progress,
    )
    return certification, ""


def _reason_against(
    certifier: Certifier, name: str, subject: EvaluatedModel, data: Dataset, smallest: Threat
) -> str:
    """Say why certifying all examples is not worth its time; empty where it may be.

    The model is refused, or of some examples from all over the data none is certified at the smallest size:
    on a net that was not trained for it, a certifier may take longer than the attacks and certify nothing.
    """
    refusal = refusal_reason(certifier, subject.model, data, smallest)
    if refusal:
        return f"{name} refuses this model: {refusal}"
    rows = np.unique(np.linspace(0, len(data) - 1, NUM_TRIED).astype(int))
    x, y = data.batch(rows)
    with plain_products(subject.model.device):
        certified = certifier(subject.model, x, y, smallest).certified
    if certified.any():
        return ""
    return (
        f"{name} certifies none of {len(rows)} examples at {smallest.spec}; --certifier {name} tries all the "
        "same"
    )


def _evaluate_smoothed(
    subject: EvaluatedModel,
    data: Dataset,
    threats: Sequence[Threat],
    method: DerivingCertifier,
    *,
    seed: int,
    unfinished: Path,
    progress: Progress,
) -> StepOutput:
    """Bound the robust accuracy of the model that a certifier makes of the given one."""
    for threat in threats:
        method.derive(subject.model).require_certifiable(threat)
    attacked, both, claims = certify_smoothed(
        subject,
        data,
        threats,
        SmoothingSettings(method, num_examples=0, attack_certified=False),
        seed=seed,
        primary=True,
        checkpoint_dir=unfinished,
        progress=progress,
    )
    clean = clean_accuracy_claim(subject, data, primary=True)
    return StepOutput(EvaluateResult(attacked, both), (clean, *claims))
