"""The drill's step in which several sites train one model together."""

from quintain.drill.budget import Amount
from quintain.drill.context import DrillContext
from quintain.drill.obstacles import needs_averaging
from quintain.drill.step import Estimate, Step
from quintain.drill.trials import Trials
from quintain.evaluate.federation_defaults import LOCAL_RECIPE
from quintain.evaluate.step import StepOutput
from quintain.evaluate.steps.federate import run_federate

TRAININGS = 3
"""Of all examples in every local epoch: over the sites together, at each site alone, and in one place."""


def run(context: DrillContext) -> StepOutput:
    """Return the result of training with secure aggregation; one site drops out in the middle round.

    What is bundled takes seconds, so that nothing of it is kept for a drill that is cut off.
    """
    kept = None if context.settings.is_bundled else context.run.unfinished("federate")
    return run_federate(
        context.net("federated"),
        context.train,
        context.test,
        sites=context.settings.clients,
        site_name="hospital" if context.settings.is_bundled else "site",
        rounds=context.workload.rounds,
        epochs=context.workload.local_epochs,
        seed=context.seed("federate"),
        folder=context.folder,
        unfinished=kept,
        progress=context.progress,
    )


def estimate(_context: DrillContext, trials: Trials) -> Estimate:
    """Return the time of local epochs and of the secure sums."""
    unit = trials.training(LOCAL_RECIPE)
    on_round = trials.parameters * trials.secure_sum
    return lambda workload: (
        workload.rounds * (TRAININGS * workload.local_epochs * workload.train_examples * unit + on_round)
    )


def amounts(_context: DrillContext) -> tuple[Amount, ...]:
    """Return the rounds."""
    return (Amount("rounds", "rounds of federated training", 2),)


STEP = Step("federate", run, estimate, needs_averaging, amounts=amounts, worth=1)
