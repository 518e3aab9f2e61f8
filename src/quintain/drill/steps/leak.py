"""Rebuild one hospital's X-ray from what it sent."""

from quintain.drill.stage import Stage
from quintain.evaluate.step import StepOutput
from quintain.evaluate.steps.leak import run_leak


def run(stage: Stage) -> StepOutput:
    """A plain update, a secure sum, a private update."""
    return run_leak(
        stage.net("federated").eval(),
        stage.train,
        steps=stage.scale.inversion_steps,
        seed=stage.seed("leak"),
        folder=stage.folder,
        show=True,  # the drill is on the bundled X-rays, which are public
        progress=stage.progress,
    )
