"""Train with DP-SGD to a target epsilon."""

from dataclasses import replace

from quintain.drill.budget import Amount
from quintain.drill.context import DrillContext
from quintain.drill.obstacles import needs_private_training
from quintain.drill.settings import MIN_PRIVATE_BATCH, RECORDS_PER_BATCH, Workload
from quintain.drill.step import Estimate, Step
from quintain.drill.trials import Trials
from quintain.evaluate.privacy_target import PrivacyTarget
from quintain.evaluate.step import StepOutput
from quintain.evaluate.steps.privatize import run_privatize
from quintain.results.quantity import Metric

PRIVATE_STEPS = Amount("private_steps", "noisy steps", 60)
"""Of private training and of its audit, which are of one plan."""

CHECKS = 12
"""Steps that the checks of a private training's first steps take as long as."""


def batch_size(workload: Workload) -> int:
    """Return the batch size, which follows the training examples where they are cut."""
    few = max(workload.train_examples // RECORDS_PER_BATCH, MIN_PRIVATE_BATCH)
    return min(workload.private_batch, few)


def privacy_target(context: DrillContext) -> PrivacyTarget:
    """Return the target epsilon, which is audited at the same settings."""
    return PrivacyTarget(
        epsilon=context.settings.epsilon,
        batch_size=min(batch_size(context.workload), len(context.train)),
        steps=context.workload.private_steps,
    )


def run(context: DrillContext) -> StepOutput:
    """A private model beside the plain or the given one."""
    output = run_privatize(
        context.net("private"),
        context.train,
        context.test,
        privacy_target(context),
        folder=context.folder,
        nonprivate_counts=context.trained().training.clean_counts,
        unfinished=context.run.unfinished("privatize"),
        progress=context.progress,
    )
    # a drill's accuracies are about another model; of its epsilon there is no other
    claims = (
        replace(one, primary=one.bracket.quantity.metric is Metric.EPSILON and one.primary)
        for one in output.claims
    )
    output = replace(output, claims=context.claims_beside_given(tuple(claims)))
    return output.with_notes(context.subject.first_weights_notes)


def estimate(_context: DrillContext, trials: Trials) -> Estimate:
    """Return the time of the noisy steps."""
    unit = trials.private
    return lambda workload: (workload.private_steps + CHECKS) * batch_size(workload) * unit


def amounts(_context: DrillContext) -> tuple[Amount, ...]:
    """Return the noisy steps."""
    return (PRIVATE_STEPS,)


STEP = Step("privatize", run, estimate, needs_private_training, needs=("train",), amounts=amounts, worth=4)
