"""Train with DP-SGD to a budget."""

from quintain.drill.context import DrillContext
from quintain.evaluate.privacy_target import PrivacyTarget
from quintain.evaluate.step import StepOutput
from quintain.evaluate.steps.privatize import run_privatize


def budget(stage: DrillContext) -> PrivacyTarget:
    """The budget that is spent, and audited at the same constants."""
    return PrivacyTarget(batch_size=stage.workload.private_batch, steps=stage.workload.private_steps)


def run(stage: DrillContext) -> StepOutput:
    """A private model beside the plain one."""
    return run_privatize(
        stage.net("private"),
        stage.train,
        stage.test,
        budget(stage),
        folder=stage.folder,
        nonprivate_counts=stage.trained().training.clean_counts,
        progress=stage.progress,
    )
