"""Rebuild one hospital's X-ray from what it sent."""

from quintain.drill.context import DrillContext
from quintain.evaluate.step import StepOutput
from quintain.evaluate.steps.leak import run_leak


def run(stage: DrillContext) -> StepOutput:
    """A plain update, a secure sum, a private update."""
    return run_leak(
        stage.net("federated").eval(),
        stage.train,
        steps=stage.workload.inversion_steps,
        seed=stage.seed("leak"),
        folder=stage.folder,
        show=True,  # the drill is on the bundled X-rays, which are public
        progress=stage.progress,
    )
