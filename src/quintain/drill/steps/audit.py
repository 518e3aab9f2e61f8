"""Audit private training, with a positive control, and test its noise and sampling."""

from dataclasses import replace

from quintain.drill.budget import Amount
from quintain.drill.context import DrillContext
from quintain.drill.obstacles import needs_private_training
from quintain.drill.step import Estimate, Step
from quintain.drill.steps.privatize import CHECKS, PRIVATE_STEPS, batch_size, privacy_target
from quintain.drill.trials import Trials
from quintain.evaluate.step import StepOutput
from quintain.evaluate.steps.audit import run_audit

COMPARISONS = 36
"""No drill makes more claims than this; a crossing is repeated until chance is excluded over all of them."""

TRAININGS = 2.3
"""Trainings that an audit takes: one with noise, one without, and what it looks at on the way."""

TESTS = 10.0
"""Seconds of the tests of the mechanism, which are the same for every net."""


def run(context: DrillContext) -> StepOutput:
    """Run the plan on a net and data with canaries."""
    output = run_audit(
        context.net("private"),
        context.train,
        privacy_target(context),
        canaries=min(context.workload.canaries, len(context.train) // 2),
        comparisons=COMPARISONS,
        seed=context.seed("audit"),
        unfinished=context.run.unfinished("audit"),
        progress=context.progress,
    )
    output = replace(output, claims=context.claims_beside_given(output.claims))
    return output.with_notes(context.subject.first_weights_notes)


def estimate(_context: DrillContext, trials: Trials) -> Estimate:
    """Return the time of two trainings and of the tests of the mechanism."""
    unit = TRAININGS * trials.private
    return lambda workload: (workload.private_steps + CHECKS) * batch_size(workload) * unit + TESTS


def amounts(_context: DrillContext) -> tuple[Amount, ...]:
    """Return the noisy steps, where private training has not decided them."""
    return (PRIVATE_STEPS,)


STEP = Step("audit", run, estimate, needs_private_training, amounts=amounts, worth=3)
