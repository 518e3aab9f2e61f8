"""The drill's step that reconstructs one site's picture from the update that it sent."""

from quintain.drill.budget import Amount
from quintain.drill.context import DrillContext
from quintain.drill.obstacles import needs_float32
from quintain.drill.step import Estimate, Obstacle, Step, refusals_are_obstacles
from quintain.drill.trials import Trials
from quintain.evaluate.step import StepOutput
from quintain.evaluate.steps.leak import SITES, TV_WEIGHTS, run_leak
from quintain.leakage import ImprintLayer
from quintain.report import format as fmt

IMPRINT = ImprintLayer(units=256)
"""What is measured against each defense: a server that sends a layer of its own; it costs no search."""

MEASURED_STEPS = 1000
"""As many steps of a reconstruction take about as long as that."""

TRIES = 2 + 2 * len(TV_WEIGHTS)
"""Reconstructions: one from the plain update, several each from the sum and from the private one, and the
control.
"""


def run(context: DrillContext) -> StepOutput:
    """Return the reconstructions from plain and protected updates, and what stops a malicious server."""
    return run_leak(
        context.net("federated").eval(),
        context.examples[0] or context.test,
        measured=(IMPRINT,),
        steps=context.workload.inversion_steps,
        seed=context.seed("leak"),
        folder=context.folder,
        show=context.subject.is_public,
        unfinished=context.run.unfinished("leak"),
        progress=context.progress,
    )


@refusals_are_obstacles
def obstacle(context: DrillContext) -> Obstacle | None:
    """Return why no picture can be rebuilt, if none can."""
    if context.subject.is_black_box:
        return Obstacle(
            f"{context.settings.model} is a black box, which sends no updates",
            "give the net itself: --model path/to/file.py:factory",
        )
    examples = context.examples[0] or context.test
    if not context.subject.is_pictures:
        return Obstacle(
            f"the data are of shape {examples.shape}: gray or RGB pictures are needed to rebuild one",
            "give pictures; what a model of vectors gives away of its records, the audit measures",
        )
    if len(examples) <= SITES:
        return Obstacle(
            f"{context.subject.splits.name} has {fmt.count(len(examples), 'picture')}; at least {SITES + 1} "
            f"are needed: one for each of {SITES} sites, and one beside them",
            "give more pictures",
        )
    return needs_float32(context)


def estimate(_context: DrillContext, trials: Trials) -> Estimate:
    """Return the time of all steps of all reconstructions, and of comparing defenses."""
    unit = trials.inversion
    return lambda workload: (TRIES * workload.inversion_steps + MEASURED_STEPS) * unit


def amounts(_context: DrillContext) -> tuple[Amount, ...]:
    """Return the steps of a reconstruction."""
    return (Amount("inversion_steps", "steps of a reconstruction", 100),)


STEP = Step("leak", run, estimate, obstacle, amounts=amounts, worth=2)
