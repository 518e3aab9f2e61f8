"""Certify the models, and put both bounds together."""

from quintain.certify import IntervalBounds, RandomizedSmoothing
from quintain.drill.context import PRIMARY_MODEL, SMOOTHED_MODEL, DrillContext
from quintain.drill.steps.harden import SIGMA
from quintain.evaluate.brackets import robustness_claims
from quintain.evaluate.certify import certify_examples
from quintain.evaluate.smoothing import SmoothingSettings, certify_smoothed
from quintain.evaluate.step import StepOutput
from quintain.results.records import Claim
from quintain.results.robustness_records import CertifiedModel, CertifyResult
from quintain.threats import L2

SMOOTHED_SIZES = (0.25, 0.5)


def run(context: DrillContext) -> StepOutput:
    """Certify the plain and the two hardened models by intervals, the noise-trained one by smoothing."""
    attacked = context.attacks()
    files = {
        file.name: file
        for file in (context.trained().training.model, *(one.model for one in context.hardened().trainings))
    }
    models: list[CertifiedModel] = []
    claims: list[Claim] = []
    for name in attacked:
        subject = context.subject(files[name])
        certification = certify_examples(
            subject,
            context.test,
            context.threats,
            IntervalBounds(),
            method=IntervalBounds.title,
            progress=context.progress,
        )
        both, found = robustness_claims(
            subject,
            context.test,
            context.threats,
            certification=certification,
            attacked=attacked[name],
            primary=name == PRIMARY_MODEL,
        )
        models.append(both)
        claims.extend(found)
    _, smooth, found = certify_smoothed(
        context.subject(files[SMOOTHED_MODEL]),
        context.test,
        [L2(size) for size in SMOOTHED_SIZES],
        SmoothingSettings(
            RandomizedSmoothing(SIGMA, context.workload.noise_samples), context.workload.smoothed_examples
        ),
        seed=context.seed("smoothing"),
        primary=True,
        progress=context.progress,
    )
    return StepOutput(CertifyResult((*models, smooth)), (*claims, *found))
