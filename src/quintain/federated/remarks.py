"""What whoever runs a site should know of a task that its client has accepted, a sentence each."""

from quintain.federated.plan import TrainingPlan

ROOM = 10.0
"""A clip of more than so many times the largest entry of an update is remarked on."""
USUAL_ROOM = 3.0

LATE = (
    "this site had no model and took the server's, since its settings say that it joins late (joins_late): "
    "that there were rounds before, the other sites alone can tell"
)


def clip_remark(plan: TrainingPlan, largest: float) -> str:
    """Remark on a clip that leaves a server far more room than a site's update needs; nothing if it does not.

    Args:
        plan: The site's own.
        largest: The largest magnitude of an entry of its update.
    """
    most = plan.strategy.largest_step(plan.largest_mean)
    # noise decides the clip by itself
    if plan.noise is not None or not 0 < ROOM * largest < most:
        return ""
    return (
        f"a server may move any weight by {most:g} in a round, and the largest entry of this site's update "
        f"is {largest:.2g}: agree on a smaller clip_value, such as {float(f'{USUAL_ROOM * largest:.0e}'):g}"
    )
