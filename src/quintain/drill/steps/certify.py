"""Certify the models, and put both bounds together."""

import math
from functools import partial

from quintain.certify import IntervalBounds, RandomizedSmoothing
from quintain.drill.budget import Amount
from quintain.drill.context import SMOOTHED_MODEL, DrillContext
from quintain.drill.linear_bounds import certify_by_linear_bounds
from quintain.drill.obstacles import needs_intervals
from quintain.drill.settings import Workload
from quintain.drill.step import Estimate, Step, do_part
from quintain.drill.threat_sizes import sigma_of, smoothed_sizes
from quintain.drill.trials import Trials
from quintain.evaluate.brackets import robustness_claims
from quintain.evaluate.certify import Certification, certify_examples
from quintain.evaluate.estimated_gradients import NOISE_PAIRS
from quintain.evaluate.model import EvaluatedModel
from quintain.evaluate.smoothing import SmoothingSettings, certify_smoothed, smoothed_sample_notes
from quintain.evaluate.step import StepOutput
from quintain.results.artifacts import ModelFile
from quintain.results.records import Claim, NotDone
from quintain.results.robustness_records import CertifiedModel, CertifyResult, TrainResult

ENOUGH_OF_BOUNDS = 0.75
"""Of the seconds of linear bounds: for more of them no other work is cut."""

VOTE_SAMPLES = 1_000
"""Most noise samples of a prediction, or half of those of a certificate where these are fewer."""

CERTIFICATE_SAMPLES = 1_000
"""Noise samples of a certificate at the drill's sizes, more than were drawn on average; all that it may draw
where these are fewer.
"""

PREDICTION_SAMPLES = 200
"""Noise samples of a prediction, more than were drawn on average."""

PREDICTIONS = 3
"""Of each example: of the clean one, and after the attack at both sizes."""

ATTACK_STEPS, SAMPLES_PER_STEP = 20, 100
"""Steps of the attack on the smoothed model, or fewer where a certificate has few noise samples."""

SURROGATES = 2 * 3 * 32
"""Noise samples that a step takes as long as: at two sizes, by gradients over 32 of them, each of which takes
as long as three: those of certificates are in a quick layout of memory.
"""

ESTIMATES = 2 * 2 * NOISE_PAIRS
"""The same where gradients are estimated: at two sizes, by pairs of noise."""


def vote_samples(workload: Workload) -> int:
    """Return the most noise samples of a prediction."""
    return min(VOTE_SAMPLES, workload.noise_samples // 2)


def attack_steps(workload: Workload) -> int:
    """Return the steps of the attack on the smoothed model."""
    return min(ATTACK_STEPS, max(1, workload.noise_samples // SAMPLES_PER_STEP))


def run(context: DrillContext) -> StepOutput:
    """Certify each attacked model by intervals, then by linear bounds, and one more by smoothing."""
    files, hardened = _model_files(context), context.hardened()
    plain = context.trained().training.model
    missing: list[NotDone] = []
    models: list[CertifiedModel] = []
    claims: list[Claim] = []
    attacked = context.attacked()
    no_intervals = needs_intervals(context)
    if no_intervals is not None:
        missing.append(NotDone("certificates by interval bounds", no_intervals.reason, no_intervals.remedy))
    primary = context.primary_model(files if hardened else ())
    subjects = {name: context.stored_model(files[name]) for name in attacked or files}
    proofs: dict[str, Certification] = {}
    for name, subject in {} if no_intervals else subjects.items():
        by_intervals = _by_intervals(context, subject, missing)
        if by_intervals is not None:
            proofs[name] = by_intervals
    proofs, notes = certify_by_linear_bounds(context, subjects, proofs, attacked, missing)
    for name, subject in subjects.items():
        certification = proofs.get(name)
        if certification is None and name not in attacked:
            continue
        both = do_part(
            f"the bounds of the {subject.file.title}",
            partial(
                robustness_claims,
                subject,
                context.test,
                context.threats,
                certification=certification,
                attacked=attacked.get(name),
                primary=name == primary,
            ),
            missing,
        )
        if both is not None:
            models.append(both[0])
            claims.extend(both[1])
    base = files.get(SMOOTHED_MODEL, plain)
    if context.workload.smoothed_examples:
        smoothed = _by_smoothing(context, context.stored_model(base), missing)
    else:
        smoothed, reason = None, "there was no time for them"
        missing.append(NotDone("certificates by smoothing", reason, "give more --minutes and a new --out"))
    if smoothed is not None:
        models.append(smoothed[0])
        claims.extend(smoothed[1])
        notes += smoothed_sample_notes(
            context.test, smoothing_settings(context), seed=context.seed("smoothing")
        )
    return StepOutput(CertifyResult(tuple(models)), tuple(claims), notes, not_done=tuple(missing))


def smoothing_settings(context: DrillContext) -> SmoothingSettings:
    """Return how a model is smoothed, and on how many examples."""
    certifier = RandomizedSmoothing(sigma_of(context.threat), context.workload.noise_samples)
    return SmoothingSettings(
        certifier,
        context.workload.smoothed_examples,
        vote_samples=vote_samples(context.workload),
        steps=attack_steps(context.workload),
    )


def claims_without(context: DrillContext) -> tuple[Claim, ...]:
    """Return what the attacks say of each model, where they left the claims to this step."""
    if not context.run.has("train", TrainResult):
        return ()
    files, attacked = _model_files(context), context.attacked()
    primary = context.primary_model(files if context.hardened() else ())
    made = {
        claim.name
        for step in ("attack", "harden")
        if context.run.is_finished(step)
        for claim in context.run.record(step).claims
    }
    claims = [
        claim
        for name, one in attacked.items()
        for claim in robustness_claims(
            context.stored_model(files[name]),
            context.test,
            context.threats,
            attacked=one,
            primary=name == primary,
        )[1]
    ]
    return tuple(claim for claim in claims if claim.name not in made)


def _model_files(context: DrillContext) -> dict[str, ModelFile]:
    """Return the plain or given model and the hardened ones, by name."""
    plain, hardened = context.trained().training.model, context.hardened()
    return {
        file.name: file for file in (plain, *(one.model for one in (hardened.trainings if hardened else ())))
    }


def _by_intervals(
    context: DrillContext, subject: EvaluatedModel, missing: list[NotDone]
) -> Certification | None:
    """Return interval certificates of one model; what keeps it from having any is added to ``missing``."""
    return do_part(
        f"certificates by interval bounds of the {subject.file.title}",
        partial(
            certify_examples,
            subject,
            context.test,
            context.threats,
            IntervalBounds(),
            method=IntervalBounds.title,
            checkpoint_dir=context.run.unfinished("certify", subject.file.name),
            progress=context.progress,
        ),
        missing,
        remedy="use layers that interval bounds handle",
    )


def _by_smoothing(
    context: DrillContext, base: EvaluatedModel, missing: list[NotDone]
) -> tuple[CertifiedModel, tuple[Claim, ...]] | None:
    """Return certificate and claims of the smoothed form of a model."""

    def certify() -> tuple[CertifiedModel, tuple[Claim, ...]]:
        _, smooth, found = certify_smoothed(
            base,
            context.test,
            smoothed_sizes(context.threat),
            smoothing_settings(context),
            seed=context.seed("smoothing"),
            primary=not context.subject.comes_trained,
            checkpoint_dir=context.run.unfinished("certify", "smoothed"),
            progress=context.progress,
        )
        return smooth, found

    remedy = "let the model take batches of noisy inputs"
    return do_part("certificates by smoothing", certify, missing, remedy=remedy)


def estimate(context: DrillContext, trials: Trials) -> Estimate:
    """Return the time of interval bounds of up to three models, and of the noise samples.

    An example that the smoothed model misclassifies gets no certificate and is not attacked.
    """
    models = 3 if "harden" in context.planned else 1
    by_intervals = 0.0 if needs_intervals(context) else models * trials.interval
    step = SURROGATES if context.subject.model.access == "gradients" else ESTIMATES
    by_noise = trials.noise_sample
    certified = 1.0 if "harden" in context.planned else trials.correct_under_noise
    return lambda workload: (
        workload.test_examples * by_intervals
        + min(workload.smoothed_examples, workload.test_examples)
        * (
            certified * (min(CERTIFICATE_SAMPLES, workload.noise_samples) + attack_steps(workload) * step)
            + PREDICTIONS * min(PREDICTION_SAMPLES, vote_samples(workload))
        )
        * by_noise
    )


def amounts(context: DrillContext) -> tuple[Amount, ...]:
    """Return the size of the certificate by smoothing, which can be left out where there are intervals, and
    the time of linear bounds, which also have what others leave.
    """
    enough = math.ceil(ENOUGH_OF_BOUNDS * context.workload.bound_seconds)
    return (
        Amount("smoothed_examples", "examples certified by smoothing", 10 if needs_intervals(context) else 0),
        Amount("noise_samples", "most noise samples of each", 1_000),
        *(
            ()
            if needs_intervals(context)
            else (Amount("bound_seconds", "seconds of linear bounds", 5, enough=enough, is_seconds=True),)
        ),
    )


STEP = Step(
    "certify",
    run,
    estimate,
    needs=("train",),
    amounts=amounts,
    claims_without=claims_without,
    weight=5.0,
    worth=6,
    takes_at_most=True,
    has_workers=True,
)
