"""The drill's step that reconstructs one site's picture from the update that it sent."""

from quintain.drill.budget import Amount
from quintain.drill.context import DrillContext
from quintain.drill.step import Estimate, Obstacle, Step
from quintain.drill.trials import Trials
from quintain.evaluate.step import StepOutput
from quintain.evaluate.steps.leak import SITES, TV_WEIGHTS, run_leak

TRIES = 1 + 2 * len(TV_WEIGHTS)
"""Reconstructions: one from the plain update, several each from the sum and from the private one."""


def run(context: DrillContext) -> StepOutput:
    """Return the reconstructions from a plain update, a secure sum and a private update."""
    return run_leak(
        context.net("federated").eval(),
        context.examples[0] or context.test,
        steps=context.workload.inversion_steps,
        seed=context.seed("leak"),
        folder=context.folder,
        show=context.subject.is_public,
        progress=context.progress,
    )


def obstacle(context: DrillContext) -> Obstacle | None:
    """Return why no picture can be rebuilt, if none can."""
    if context.subject.is_black_box:
        return Obstacle(
            f"{context.settings.model} is a black box, which sends no updates",
            "give the net itself: --model path/to/file.py:factory",
        )
    examples = context.examples[0] or context.test
    if not context.subject.is_pictures or len(examples) <= SITES:
        return Obstacle(
            f"the data are {len(examples)} examples of shape {examples.shape}: more than {SITES} gray or RGB "
            "pictures are needed to rebuild one",
            "give pictures; what a model of vectors gives away of its records, the audit measures",
        )
    return None


def estimate(_context: DrillContext, trials: Trials) -> Estimate:
    """Return the time of all steps of all reconstructions."""
    return lambda workload: TRIES * workload.inversion_steps * trials.inversion


def amounts(_context: DrillContext) -> tuple[Amount, ...]:
    """Return the steps of a reconstruction."""
    return (Amount("inversion_steps", "steps of a reconstruction", 100),)


STEP = Step("leak", run, estimate, obstacle, amounts=amounts, worth=2)
