"""What whoever runs a site should know of a task that its client has accepted, a sentence each."""

import torch

from quintain.federated.plan import TrainingPlan

MAX_CLIP_RATIO = 10.0
"""A clip of more than so many times the largest entry of an update is remarked on."""
USUAL_CLIP_RATIO = 3.0

LATE = (
    "this site had no model and took the server's, since its settings say that it joins late (joins_late): "
    "that there were rounds before, the other sites alone can tell"
)


def missed_remark(plan: TrainingPlan) -> str:
    """Remark that a client that missed a round does not know what the server remembers, and till when."""
    until = "for the rest of this training"
    if plan.strategy.memory_after(torch.zeros(plan.length, dtype=torch.float64)) is not None:
        until = "until it has been in two rounds in a row"
    return (
        f"this site has missed a round, and {plan.strategy.name} remembers something of each at the server: "
        f"{until} this site cannot tell whether a model is the last one plus the published sum, but only "
        f"that no weight has moved by more than {plan.strategy.largest_step(plan.largest_mean):g} in a round"
    )


def clip_remark(plan: TrainingPlan, largest: float) -> str:
    """Remark on a clip that leaves a server far more room than a site's update needs; nothing if it does not.

    Args:
        plan: The site's own.
        largest: The largest magnitude of an entry of its update.
    """
    most = plan.strategy.largest_step(plan.largest_mean)
    # noise decides the clip by itself
    if plan.noise is not None or not 0 < MAX_CLIP_RATIO * largest < most:
        return ""
    suggested = float(f"{USUAL_CLIP_RATIO * largest:.0e}")
    return (
        f"a server may move any weight by {most:g} in a round, and the largest entry of this site's update "
        f"is {largest:.2g}: agree on a smaller clip_value, such as {suggested:g}"
    )
