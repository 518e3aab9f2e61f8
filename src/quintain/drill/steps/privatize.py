"""Train with DP-SGD to a target epsilon."""

from quintain.drill.budget import Amount
from quintain.drill.context import DrillContext
from quintain.drill.obstacles import needs_private_training
from quintain.drill.step import Estimate, Step
from quintain.drill.trials import Trials
from quintain.evaluate.privacy_target import PrivacyTarget
from quintain.evaluate.step import StepOutput
from quintain.evaluate.steps.privatize import PLAIN_EPOCHS, run_privatize
from quintain.results.robustness_records import TrainResult
from quintain.training import Recipe

PRIVATE_STEPS = Amount("private_steps", "noisy steps", 60)
"""Of private training and of its audit, which are of one plan."""


def privacy_target(context: DrillContext) -> PrivacyTarget:
    """Return the target epsilon, which is audited at the same settings."""
    return PrivacyTarget(
        epsilon=context.settings.epsilon,
        batch_size=min(context.workload.private_batch, len(context.train)),
        steps=context.workload.private_steps,
    )


def run(context: DrillContext) -> StepOutput:
    """A private model beside the plain one."""
    plain = context.run.has("train", TrainResult)
    return run_privatize(
        context.net("private"),
        context.train,
        context.test,
        privacy_target(context),
        folder=context.folder,
        nonprivate_counts=context.trained().training.clean_counts if plain else None,
        progress=context.progress,
    )


def estimate(context: DrillContext, trials: Trials) -> Estimate:
    """Return the time of the noisy steps, and of a plain training where there is none yet."""
    plain = 0.0 if "train" in context.planned else PLAIN_EPOCHS * trials.training(Recipe(epochs=1))
    return lambda workload: (
        workload.private_steps * workload.private_batch * trials.private + workload.train_examples * plain
    )


STEP = Step("privatize", run, estimate, needs_private_training, amounts=(PRIVATE_STEPS,))
