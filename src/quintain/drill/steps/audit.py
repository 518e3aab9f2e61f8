"""Audit private training, with a positive control, and test its noise and sampling."""

from quintain.drill.context import DrillContext
from quintain.drill.steps.privatize import privacy_target
from quintain.evaluate.step import StepOutput
from quintain.evaluate.steps.audit import run_audit

COMPARISONS = 32
"""No drill makes more claims than this; a crossing is repeated until chance is excluded over all of them."""


def run(context: DrillContext) -> StepOutput:
    """Run the plan on a net and data with canaries."""
    return run_audit(
        context.net("private"),
        context.train,
        privacy_target(context),
        canaries=context.workload.canaries,
        comparisons=COMPARISONS,
        seed=context.seed("audit"),
        progress=context.progress,
    )
