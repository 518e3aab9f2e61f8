"""The drill's step in which five hospitals train one model together."""

from quintain.drill.context import DrillContext
from quintain.evaluate.step import StepOutput
from quintain.evaluate.steps.federate import run_federate


def run(context: DrillContext) -> StepOutput:
    """Return the result of training with secure aggregation; one hospital drops out in the middle round."""
    return run_federate(
        context.net("federated"),
        context.train,
        context.test,
        rounds=context.workload.rounds,
        epochs=context.workload.local_epochs,
        seed=context.seed("federate"),
        folder=context.folder,
        progress=context.progress,
    )
