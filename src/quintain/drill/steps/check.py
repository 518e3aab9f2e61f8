"""Look at the data and the untrained model before anything is believed."""

from quintain.drill.stage import Stage
from quintain.evaluate.checks import check
from quintain.evaluate.outcome import Outcome
from quintain.models.classifier import Classifier


def run(stage: Stage) -> Outcome:
    """Check value range, labels, duplicates, balance, and the model's shape, mode and determinism."""
    return check(stage.splits, Classifier(stage.net("plain").eval(), classes=2, name="xray-cnn"))
