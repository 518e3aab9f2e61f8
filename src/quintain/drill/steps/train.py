"""Train the small plain net that everything else is measured against."""

from quintain.drill.context import DrillContext
from quintain.evaluate.brackets import clean_accuracy_claim
from quintain.evaluate.step import StepOutput
from quintain.evaluate.training import train_and_test
from quintain.results.robustness_records import TrainResult
from quintain.training import CleanCrossEntropy, Recipe, fit


def run(context: DrillContext) -> StepOutput:
    """Plain training and clean accuracy."""
    recipe = Recipe(epochs=context.workload.plain_epochs)
    net, seed = context.net("plain"), context.seed("train")

    def train() -> tuple[float, ...]:
        done = fit(
            net,
            context.train,
            recipe,
            objective=CleanCrossEntropy(),
            seed=seed,
            checkpoint=context.run.checkpoint("plain"),
            progress=context.progress,
        )
        return done.losses

    subject, training = train_and_test(
        net, train, context.folder, context.test, name="plain", title="plain model", settings=recipe
    )
    return StepOutput(TrainResult(training), (clean_accuracy_claim(subject, context.test),))
