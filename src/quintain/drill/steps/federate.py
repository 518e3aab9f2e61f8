"""Five hospitals train together."""

from quintain.drill.context import DrillContext
from quintain.evaluate.step import StepOutput
from quintain.evaluate.steps.federate import run_federate


def run(stage: DrillContext) -> StepOutput:
    """Secure aggregation, one hospital dropping out in the middle round."""
    return run_federate(
        stage.net("federated"),
        stage.train,
        stage.test,
        rounds=stage.workload.rounds,
        epochs=stage.workload.local_epochs,
        seed=stage.seed("federate"),
        folder=stage.folder,
        progress=stage.progress,
    )
