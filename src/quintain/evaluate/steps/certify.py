"""Certify a model, or the one that a certifier makes of it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from quintain.certify.ablation import Ablation
from quintain.core.errors import SettingError
from quintain.core.progress import Progress, no_progress
from quintain.core.registry import Entry, get_entry
from quintain.core.threat_specs import threat_name
from quintain.data.dataset import Dataset
from quintain.evaluate.brackets import clean_accuracy_claim, robustness_claims
from quintain.evaluate.certify import Certification, certify_examples
from quintain.evaluate.model import EvaluatedModel
from quintain.evaluate.open_examples import save_counterexamples
from quintain.evaluate.remaining_examples import certify_remaining
from quintain.evaluate.smoothing import SmoothingSettings, certify_smoothed
from quintain.evaluate.step import StepOutput
from quintain.results.robustness_records import CertifyResult
from quintain.threats.threat import Threat


def run_certify(
    subject: EvaluatedModel,
    data: Dataset,
    threats: Sequence[Threat],
    certifier: str,
    *,
    named: bool = True,
    sigma: float = 0.25,
    noise_samples: int = 10_000,
    band_width: int = 4,
    band_shape: str = "column",
    seconds: float = 60.0,
    seed: int = 0,
    folder: Path | None = None,
    unfinished: Path | None = None,
    processes: int = 1,
    progress: Progress = no_progress,
) -> StepOutput:
    """Certify a model; the upper bound counts clean errors and what the certifier breaks.

    For a smoothed model it counts breaks by attacks on it.

    Args:
        certifier: A registered name.
        named: Whether the user named it; else what a cheap one leaves open goes to the first that takes long,
            for ``seconds``.
        sigma, noise_samples, band_width, band_shape, seconds: Settings of a certifier that takes them.
        folder: The run folder, where inputs go that the certifier found to break an example.
        unfinished: Where finished certificates are kept, so that the same call resumes; ``delete_chunks`` it
            once the record is written.
        processes: How many certify at once where that takes long, as ``CertifyWorkers`` says.

    Raises:
        SettingError: If the certifier does not support the threats, or nothing could ever be certified.
    """
    entry = get_entry("certifier", certifier)
    notes: tuple[str, ...] = ()
    require_supported(entry, threats)
    method = entry.build(
        sigma=sigma,
        noise_samples=noise_samples,
        band_width=band_width,
        band_shape=band_shape,
        seconds=seconds,
    )
    if entry.fact("subject") == "smoothed":
        for threat in threats:
            method.derive(subject.model).require_certifiable(threat)
        _, both, claims = certify_smoothed(
            subject,
            data,
            threats,
            SmoothingSettings(method, num_examples=0),
            seed=seed,
            primary=True,
            checkpoint_dir=unfinished,
            progress=progress,
        )
    else:
        if entry.fact("subject") == "ablated":
            subject = ablated_model(subject, method)
        certification: Certification | None = certify_examples(
            subject,
            data,
            threats,
            method,
            method=getattr(method, "title", entry.name),
            checkpoint_dir=unfinished,
            processes=processes,
            progress=progress,
        )
        if not named and (entry.fact("cost", "cheap"), entry.fact("subject", "model")) == ("cheap", "model"):
            certification, notes = certify_remaining(
                subject,
                data,
                threats,
                certification,
                seconds=seconds,
                processes=processes,
                progress=progress,
            )
        if folder is not None and certification is not None:
            save_counterexamples(folder, subject.name, certification)
        both, claims = robustness_claims(subject, data, threats, certification=certification, primary=True)
    clean = clean_accuracy_claim(subject, data, primary=True)
    return StepOutput(CertifyResult((both,)), (clean, *claims), notes)


def ablated_model(subject: EvaluatedModel, method: Ablation) -> EvaluatedModel:
    """Return the ablated classifier of a model, which is attacked and certified like any model."""
    ablated = method.derive(subject.model)
    title = f"ablated, {ablated.band_shape}s of {ablated.band_width}"
    return EvaluatedModel(
        ablated, replace(subject.file, name="ablated", title=title, model_hash=ablated.hash)
    )


def require_supported(entry: Entry, threats: Sequence[Threat]) -> None:
    """Raise for a threat that a certifier does not support.

    Raises:
        SettingError: If there is one.
    """
    for threat in threats:
        if threat_name(threat.spec) not in entry.words("supports"):
            raise SettingError(
                f"--threat {threat.spec}: {entry.name} certifies {', '.join(entry.words('supports'))}; give "
                f"sizes such as --threat {entry.fact('example')}"
            )
