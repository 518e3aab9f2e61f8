"""The drill's step that tells who was trained on, from a plain and from a private training."""

from quintain.drill.budget import Amount
from quintain.drill.context import DrillContext
from quintain.drill.obstacles import needs_private_training
from quintain.drill.settings import Workload
from quintain.drill.step import Estimate, Obstacle, Step, refusals_are_obstacles
from quintain.drill.steps.privatize import CHECKS
from quintain.drill.trials import Trials
from quintain.evaluate.leaks.trainers import NetBuilder
from quintain.evaluate.privacy_target import PrivacyTarget
from quintain.evaluate.step import StepOutput
from quintain.evaluate.steps.membership import run_membership
from quintain.report import format as fmt
from quintain.training import Recipe

BATCH = 32
"""Of the plain trainings: small, so that mislabeled examples are learned by heart as in long trainings."""

PRIVATE_STEPS, PRIVATE_BATCH = 60, 50

FEWEST = 200
"""With fewer candidates a false-positive rate of 1 % is not even one of them."""


def recipe(workload: Workload) -> Recipe:
    """Return the recipe of the plain trainings."""
    return Recipe(epochs=workload.membership_epochs, batch_size=BATCH)


STARTS = 18.0
"""Seconds in which processes that train shadow models start, and attacks are run, whatever the net."""


def run(context: DrillContext) -> StepOutput:
    """Return what attacks on membership find in small trainings with and without privacy."""
    half = _candidates(context, context.workload) // 2
    return run_membership(
        context.train,
        build=NetBuilder(context.settings.model, context.subject.net_sizes),
        recipe=recipe(context.workload),
        private=PrivacyTarget(
            epsilon=context.settings.epsilon, batch_size=min(PRIVATE_BATCH, half), steps=PRIVATE_STEPS
        ),
        candidates=_candidates(context, context.workload),
        shadows=2 * context.workload.membership_pairs,
        seed=context.seed("membership"),
        unfinished=context.run.unfinished("membership"),
        device=str(context.subject.device),
        progress=context.progress,
    )


@refusals_are_obstacles
def obstacle(context: DrillContext) -> Obstacle | None:
    """Return why no small nets can be trained, if none can."""
    found = needs_private_training(context)
    if found is not None:
        return found
    count = context.subject.train_size
    if count < FEWEST:
        return Obstacle(
            f"{context.subject.splits.name} has {fmt.count(count, 'training example')}; at least {FEWEST} "
            "are needed, half of which are trained on",
            "give more training examples",
        )
    return None


def estimate(context: DrillContext, trials: Trials) -> Estimate:
    """Return the time of two nets and their shadow models, half of them trained privately."""
    plain, private = trials.training(Recipe(epochs=1, batch_size=BATCH)), trials.private

    def seconds(workload: Workload) -> float:
        half = _candidates(context, workload) // 2
        one = half * workload.membership_epochs * plain + (PRIVATE_STEPS + CHECKS) * PRIVATE_BATCH * private
        return (1 + 2 * workload.membership_pairs) * one + STARTS

    return seconds


def amounts(_context: DrillContext) -> tuple[Amount, ...]:
    """Return the candidates and the shadow models."""
    return (
        Amount("membership_candidates", "candidates of attacks on membership", 600),
        Amount("membership_pairs", "pairs of shadow models", 2),
    )


def _candidates(context: DrillContext, workload: Workload) -> int:
    return min(workload.membership_candidates, context.subject.train_size)


STEP = Step("membership", run, estimate, obstacle, amounts=amounts, weight=0.5, has_workers=True)
