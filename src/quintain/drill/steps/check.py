"""Check the data and the model."""

from quintain.drill.context import DrillContext
from quintain.drill.step import Estimate, Step
from quintain.drill.trials import Trials
from quintain.evaluate.step import StepOutput
from quintain.evaluate.steps.check import run_check

PASSES = 20
"""Forward passes on 64 examples that the checks of a model take, or as much in gradients."""


def run(context: DrillContext) -> StepOutput:
    """Check value range, labels, duplicates, balance, and the model's shape, mode and determinism."""
    return run_check(context.subject.splits, context.subject.model, trained=context.subject.comes_trained)


def estimate(_context: DrillContext, trials: Trials) -> Estimate:
    """Return the time of the checks of the model; those of the data are quick."""
    seconds = 64 * PASSES * trials.forward
    return lambda _workload: seconds


STEP = Step("check", run, estimate, worth=8, takes_at_most=True)
