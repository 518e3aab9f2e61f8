"""Train the plain net that everything else is measured against, or look at the one that is given."""

from quintain.drill.budget import Amount
from quintain.drill.context import GIVEN_MODEL, PLAIN_MODEL, DrillContext
from quintain.drill.obstacles import needs_training
from quintain.drill.step import Estimate, Obstacle, Step, refusals_are_obstacles
from quintain.drill.trials import Trials
from quintain.evaluate.brackets import clean_accuracy_claim
from quintain.evaluate.model import clean_counts, named_model
from quintain.evaluate.step import StepOutput
from quintain.evaluate.training import train_and_test
from quintain.results.robustness_records import TrainingRun, TrainResult
from quintain.training import CleanCrossEntropy, Recipe, fit


def run(context: DrillContext) -> StepOutput:
    """Plain training and clean accuracy; of a given model, its clean accuracy alone."""
    if context.subject.comes_trained:
        return _evaluate_given(context)
    recipe = Recipe(epochs=context.workload.plain_epochs)
    net, seed = context.net(PLAIN_MODEL), context.seed("train")

    def train() -> tuple[float, ...]:
        done = fit(
            net,
            context.train,
            recipe,
            objective=CleanCrossEntropy(),
            seed=seed,
            checkpoint=context.run.checkpoint(PLAIN_MODEL),
            progress=context.progress,
        )
        return done.losses

    subject, training = train_and_test(
        net, train, context.folder, context.test, name=PLAIN_MODEL, title="plain model", settings=recipe
    )
    claim = clean_accuracy_claim(subject, context.test, primary="harden" not in context.planned)
    return StepOutput(TrainResult(training), (claim,))


def _evaluate_given(context: DrillContext) -> StepOutput:
    """Return the clean accuracy of the model that the user gives."""
    weights = context.settings.weights
    source = f"weights of {weights.name}" if weights else f"as {context.settings.model} gives it"
    subject = named_model(context.subject.model, GIVEN_MODEL, "given model")
    training = TrainingRun(subject.file, clean_counts(subject.model, context.test), (), 0.0, source)
    claim = clean_accuracy_claim(subject, context.test, primary=True)
    return StepOutput(TrainResult(training), (claim,))


@refusals_are_obstacles
def obstacle(context: DrillContext) -> Obstacle | None:
    """Return why no model can be trained where none is given."""
    return None if context.subject.comes_trained else needs_training(context)


def estimate(context: DrillContext, trials: Trials) -> Estimate:
    """Return the time of the epochs."""
    forward = trials.forward
    if context.subject.comes_trained:
        return lambda workload: 2 * workload.test_examples * forward
    unit = trials.training(Recipe(epochs=1))
    return lambda workload: (
        workload.plain_epochs * workload.train_examples * unit + 2 * workload.test_examples * forward
    )


def amounts(context: DrillContext) -> tuple[Amount, ...]:
    """Return the epochs, of a model that is not given."""
    if context.subject.comes_trained:
        return ()
    return (Amount("plain_epochs", "epochs of plain training", 3, batch_size=Recipe(epochs=1).batch_size),)


STEP = Step("train", run, estimate, obstacle, amounts=amounts, worth=8)
