"""Prove what can be proved, and put it beside what attacks refuted."""

from quintain.certify import IntervalBounds
from quintain.drill.context import PRIMARY_MODEL, DrillContext
from quintain.drill.steps.harden import SIGMA
from quintain.evaluate.brackets import robustness_claims
from quintain.evaluate.certify import certify_examples
from quintain.evaluate.smoothing import SmoothingSettings, certify_smoothed
from quintain.evaluate.step import StepOutput
from quintain.results.literals import INTERVAL_BOUNDS
from quintain.results.records import Claim
from quintain.results.robustness_records import CertifiedModel, CertifyResult
from quintain.threats import L2

SMOOTHED_SIZES = (0.25, 0.5)


def run(stage: DrillContext) -> StepOutput:
    """Interval bounds on the plain and the two hardened models, randomized smoothing on the noise-trained one."""
    attacked = stage.attacks()
    files = {file.name: file for file in (stage.trained().training.model, *(one.model for one in stage.hardened().trainings))}
    models: list[CertifiedModel] = []
    claims: list[Claim] = []
    for name in attacked:
        subject = stage.subject(files[name])
        certification = certify_examples(
            subject, stage.test, stage.threats, IntervalBounds(), method=INTERVAL_BOUNDS, progress=stage.progress
        )
        both, found = robustness_claims(
            subject,
            stage.test,
            stage.threats,
            certification=certification,
            attacked=attacked[name],
            primary=name == PRIMARY_MODEL,
        )
        models.append(both)
        claims.extend(found)
    _, smooth, found = certify_smoothed(
        stage.subject(files["noise"]),
        stage.test,
        [L2(size) for size in SMOOTHED_SIZES],
        SmoothingSettings(SIGMA, stage.workload.noise_samples, stage.workload.smoothed_examples),
        seed=stage.seed("smoothing"),
        primary=True,
        progress=stage.progress,
    )
    return StepOutput(CertifyResult((*models, smooth)), (*claims, *found))
