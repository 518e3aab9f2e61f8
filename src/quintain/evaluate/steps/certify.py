"""Certify a model: by interval bounds, or its smoothed form by randomized smoothing."""

from collections.abc import Sequence

from quintain.certify.smoothing import SmoothedClassifier
from quintain.core.errors import SettingError
from quintain.core.progress import Progress, no_progress
from quintain.core.registry import get_entry
from quintain.data.dataset import Dataset
from quintain.evaluate.brackets import clean_accuracy_claim, robustness_claims
from quintain.evaluate.certify import certify_examples
from quintain.evaluate.model import EvaluatedModel
from quintain.evaluate.smoothing import SmoothingSettings, certify_smoothed
from quintain.evaluate.step import StepOutput
from quintain.results.robustness_records import CertifyResult
from quintain.threats import L2
from quintain.threats.threat import Threat


def run_certify(
    subject: EvaluatedModel,
    data: Dataset,
    threats: Sequence[Threat],
    certifier: str,
    *,
    sigma: float = 0.25,
    noise_samples: int = 10_000,
    seed: int = 0,
    progress: Progress = no_progress,
) -> StepOutput:
    """Certify a model; the upper bound counts clean errors, or for a smoothed model, breaks by attacks on it.

    Args:
        certifier: A registered name.
        sigma, noise_samples: Settings of ``smoothing``.
    """
    if certifier == "smoothing":
        balls = [threat for threat in threats if isinstance(threat, L2)]
        if len(balls) != len(threats):
            raise SettingError(
                f"{threats[0].spec}: randomized smoothing proves L2 balls; give sizes such as --threat l2:0.5"
            )
        for ball in balls:
            SmoothedClassifier(subject.model, sigma, noise_samples=noise_samples).require_certifiable(ball)
        _, both, claims = certify_smoothed(
            subject,
            data,
            balls,
            SmoothingSettings(sigma, noise_samples, num_examples=0),
            seed=seed,
            primary=True,
            progress=progress,
        )
    else:
        certification = certify_examples(
            subject,
            data,
            threats,
            get_entry("certifier", certifier).load()(),
            method=certifier,
            progress=progress,
        )
        both, claims = robustness_claims(subject, data, threats, certification=certification, primary=True)
    return StepOutput(CertifyResult((both,)), (clean_accuracy_claim(subject, data, primary=True), *claims))
