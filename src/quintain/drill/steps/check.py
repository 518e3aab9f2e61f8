"""Check the data and the untrained model."""

from quintain.drill.context import DrillContext
from quintain.evaluate.step import StepOutput
from quintain.evaluate.steps.check import run_check
from quintain.models.classifier import Classifier


def run(context: DrillContext) -> StepOutput:
    """Check value range, labels, duplicates, balance, and the model's shape, mode and determinism."""
    return run_check(context.splits, Classifier(context.net("plain").eval(), num_classes=2, name="xray-cnn"))
