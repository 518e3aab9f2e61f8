"""Attack the private plan from below, with a positive control, and measure its noise and sampling."""

from quintain.drill.context import DrillContext
from quintain.drill.steps.privatize import budget
from quintain.evaluate.step import StepOutput
from quintain.evaluate.steps.audit import run_audit

COMPARISONS = 32
"""No drill makes more claims than this; a crossing is repeated until chance is excluded over all of them."""


def run(stage: DrillContext) -> StepOutput:
    """Run the plan on a net and data with canaries."""
    return run_audit(
        stage.net("private"),
        stage.train,
        budget(stage),
        canaries=stage.workload.canaries,
        comparisons=COMPARISONS,
        seed=stage.seed("audit"),
        progress=stage.progress,
    )
