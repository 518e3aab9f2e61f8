"""Five hospitals train together."""

from quintain.drill.stage import Stage
from quintain.evaluate.federation import federated_outcome
from quintain.evaluate.outcome import Outcome


def run(stage: Stage) -> Outcome:
    """Secure aggregation, one hospital dropping out in the middle round."""
    return federated_outcome(
        stage.net("federated"),
        stage.train,
        stage.test,
        rounds=stage.scale.rounds,
        epochs=stage.scale.local_epochs,
        seed=stage.seed("federate"),
        folder=stage.folder,
        progress=stage.progress,
    )
