"""Train the small plain net that everything else is measured against."""

from quintain.drill.context import DrillContext
from quintain.evaluate.brackets import clean_accuracy_claim
from quintain.evaluate.step import StepOutput
from quintain.evaluate.training import train_and_test
from quintain.results.robustness_records import TrainResult
from quintain.training import CleanCrossEntropy, Recipe, fit


def run(stage: DrillContext) -> StepOutput:
    """Plain training and clean accuracy."""
    recipe = Recipe(epochs=stage.workload.plain_epochs)
    net, seed = stage.net("plain"), stage.seed("train")

    def train() -> tuple[float, ...]:
        done = fit(
            net,
            stage.train,
            recipe,
            objective=CleanCrossEntropy(),
            seed=seed,
            checkpoint=stage.run.checkpoint("plain"),
            progress=stage.progress,
        )
        return done.losses

    subject, training = train_and_test(net, train, stage.folder, stage.test, name="plain", title="plain model", settings=recipe)
    return StepOutput(TrainResult(training), (clean_accuracy_claim(subject, stage.test),))
