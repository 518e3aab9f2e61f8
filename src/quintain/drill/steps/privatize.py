"""Train with DP-SGD to a budget."""

from quintain.drill.stage import Stage
from quintain.evaluate.outcome import Outcome
from quintain.evaluate.private_plans import Budget
from quintain.evaluate.privatizing import privatized_outcome


def budget(stage: Stage) -> Budget:
    """The budget that is spent, and audited at the same constants."""
    return Budget(batch=stage.scale.private_batch, steps=stage.scale.private_steps)


def run(stage: Stage) -> Outcome:
    """A private model beside the plain one."""
    return privatized_outcome(
        stage.net("private"),
        stage.train,
        stage.test,
        budget(stage),
        folder=stage.folder,
        plain=stage.trained().training.clean_counts,
        progress=stage.progress,
    )
