"""Rebuild one hospital's X-ray from what it sent."""

from quintain.drill.stage import Stage
from quintain.evaluate.leak import leaked_outcome
from quintain.evaluate.outcome import Outcome


def run(stage: Stage) -> Outcome:
    """A plain update, a secure sum, a private update."""
    return leaked_outcome(
        stage.net("federated").eval(),
        stage.train,
        steps=stage.scale.inversion_steps,
        seed=stage.seed("leak"),
        folder=stage.folder,
        show=True,  # the drill is on the bundled X-rays, which are public
        progress=stage.progress,
    )
