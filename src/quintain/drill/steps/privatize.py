"""Train with DP-SGD to a budget."""

from quintain.drill.stage import Stage
from quintain.evaluate.privacy_target import PrivacyTarget
from quintain.evaluate.step import StepOutput
from quintain.evaluate.steps.privatize import run_privatize


def budget(stage: Stage) -> PrivacyTarget:
    """The budget that is spent, and audited at the same constants."""
    return PrivacyTarget(batch_size=stage.scale.private_batch, steps=stage.scale.private_steps)


def run(stage: Stage) -> StepOutput:
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
