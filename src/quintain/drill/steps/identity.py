"""The drill's step that makes faces of people by asking a net of them: drawn ones, who do not exist."""

import torch
from torch import nn

from quintain.data import load_data
from quintain.drill.budget import Amount
from quintain.drill.context import DrillContext
from quintain.drill.step import Estimate, Obstacle, Step
from quintain.drill.trials import Trials
from quintain.evaluate.privacy_target import PrivacyTarget
from quintain.evaluate.step import StepOutput
from quintain.evaluate.steps.identity import run_identity
from quintain.leakage import InversionScores
from quintain.leakage.attack import Candidates
from quintain.leakage.judges.judge_net import JudgeRecipe
from quintain.leakage.knowledge import Knowledge
from quintain.leakage.view import ModelView
from quintain.models.classifier import Classifier
from quintain.models.nets import initialize
from quintain.training import Recipe

PRIVATE_PEOPLE, PUBLIC_PEOPLE = "synthetic-faces", "synthetic-public-faces"

HIDDEN = 100
RECIPE = Recipe(epochs=30, batch_size=10)
PRIVATE_STEPS, PRIVATE_BATCH, LEARNING_RATE = 60, 100, 0.5
JUDGE = JudgeRecipe(copies=8, epochs=15)
"""Of the drill, whose nets are small and trained in seconds."""

DRAWN = (
    "These faces are drawn by numbers (quintain.data.draw_faces): no real person is shown. The nets of this "
    "step are small ones of its own, not those of the X-rays."
)
"""Said wherever they are shown."""

FIXED_QUERIES = 80_000
"""Drawing, training the nets and the judge, and baselines take about as long as so many queries."""

TRIED_QUERIES = (220, 1_220)
"""Queries of one person that are tried: few, and more."""


def run(context: DrillContext) -> StepOutput:
    """Return whose faces a plain and a private net give away to who asks for their scores."""
    known = load_data(PRIVATE_PEOPLE)
    output = run_identity(
        known.split("train"),
        known.split("test"),
        load_data(PUBLIC_PEOPLE).split("test"),
        build=build_net,
        recipe=RECIPE,
        private=PrivacyTarget(
            epsilon=context.settings.epsilon,
            batch_size=PRIVATE_BATCH,
            steps=PRIVATE_STEPS,
            learning_rate=LEARNING_RATE,
        ),
        budget=context.workload.identity_queries,
        judge=JUDGE,
        seed=context.seed("identity"),
        folder=context.folder,
        show=True,
        unfinished=context.run.unfinished("identity"),
        progress=context.progress,
    )
    return output.with_notes((DRAWN,))


def build_net(seed: int) -> nn.Module:
    """Return a net that tells the drawn people apart, of one hidden layer."""
    known = load_data(PRIVATE_PEOPLE).split("train")
    inputs = torch.Size(known.shape).numel()
    layers = (nn.Flatten(), nn.Linear(inputs, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, known.num_classes))
    return initialize(nn.Sequential(*layers), seed)


def obstacle(context: DrillContext) -> Obstacle | None:
    """Return why no faces are made in a drill on other data or models: the nets would not be theirs."""
    if context.settings.is_bundled:
        return None
    return Obstacle(
        "it attacks small nets of drawn faces, which says nothing of another model",
        "where classes are people, give their pictures and those of others to "
        "quintain leak inversion-scores --data mine.npz --public others.npz",
    )


def estimate(_context: DrillContext, trials: Trials) -> Estimate:
    """Return the time of all queries of both nets, and of what is done beside them."""
    known, public = load_data(PRIVATE_PEOPLE).split("train"), load_data(PUBLIC_PEOPLE).split("test")
    model = Classifier(build_net(0).eval(), num_classes=known.num_classes)
    attack = InversionScores()
    one = torch.zeros(1, dtype=torch.long)

    def seconds(budget: int) -> float:
        started = trials.clock()
        attack.guess(
            ModelView(model, access="scores"),
            Knowledge(public=public),
            Candidates(y=one, ids=one, shape=known.shape),
            budget=budget,
            seed=0,
        )
        return trials.clock() - started

    # What is done once, such as the prior, is in both.
    least = seconds(TRIED_QUERIES[0])
    unit = max(seconds(TRIED_QUERIES[1]) - least, 0.0) / (TRIED_QUERIES[1] - TRIED_QUERIES[0])
    people = known.num_classes
    return lambda workload: (2 * people * workload.identity_queries + FIXED_QUERIES) * unit


def amounts(_context: DrillContext) -> tuple[Amount, ...]:
    """Return the queries of each person."""
    return (Amount("identity_queries", "queries of each person whose face is made", 1_000),)


STEP = Step("identity", run, estimate, obstacle, amounts=amounts, weight=0.5)
