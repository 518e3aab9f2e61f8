"""The drill's step that reconstructs one hospital's X-ray from the update that it sent."""

from quintain.drill.context import DrillContext
from quintain.evaluate.step import StepOutput
from quintain.evaluate.steps.leak import run_leak


def run(context: DrillContext) -> StepOutput:
    """Return the reconstructions from a plain update, a secure sum and a private update."""
    return run_leak(
        context.net("federated").eval(),
        context.train,
        steps=context.workload.inversion_steps,
        seed=context.seed("leak"),
        folder=context.folder,
        show=True,  # the drill is on the bundled X-rays, which are public
        progress=context.progress,
    )
