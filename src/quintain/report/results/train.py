"""Ordinary training: the model that came out and its accuracy."""

from quintain.report import format as fmt
from quintain.report.accuracy import accuracy_text
from quintain.report.presentation import Presentation
from quintain.results.robustness_records import TrainingRun, TrainResult


def training_text(training: TrainingRun) -> str:
    """Return one training in a line: model, accuracy, and time unless the model came trained."""
    time = f", {fmt.seconds(training.seconds)}" if training.seconds else ""
    return f"{training.model.title}: {accuracy_text(training.clean_counts)}{time}"


PRESENTATION = Presentation(TrainResult, "Training", summary=lambda result: (training_text(result.training),))
