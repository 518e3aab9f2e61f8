"""Train with DP-SGD to a target epsilon."""

from quintain.drill.context import DrillContext
from quintain.evaluate.privacy_target import PrivacyTarget
from quintain.evaluate.step import StepOutput
from quintain.evaluate.steps.privatize import run_privatize


def privacy_target(context: DrillContext) -> PrivacyTarget:
    """Return the target epsilon, which is audited at the same settings."""
    return PrivacyTarget(batch_size=context.workload.private_batch, steps=context.workload.private_steps)


def run(context: DrillContext) -> StepOutput:
    """A private model beside the plain one."""
    return run_privatize(
        context.net("private"),
        context.train,
        context.test,
        privacy_target(context),
        folder=context.folder,
        nonprivate_counts=context.trained().training.clean_counts,
        progress=context.progress,
    )
