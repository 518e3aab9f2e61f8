"""Check data and model before any result on them is believed."""

import numpy as np

from quintain.data.checks import check_data
from quintain.data.splits import Splits
from quintain.evaluate.step import StepOutput
from quintain.models.checks import check_model
from quintain.models.protocol import ClassifierLike
from quintain.results.robustness_records import CheckResult


def run_check(splits: Splits, model: ClassifierLike | None, *, trained: bool = True) -> StepOutput:
    """Return all findings on the data and, where there is one, on the model, which may not be trained yet."""
    parts = splits.as_dict()
    first = next(iter(parts.values()))
    findings = tuple(check_data(splits))
    if model is not None:
        findings += tuple(check_model(model, parts.get("test", first), trained=trained))
    counts = tuple(
        (name, tuple(int(n) for n in np.bincount(part.labels, minlength=part.num_classes)))
        for name, part in parts.items()
    )
    return StepOutput(CheckResult(findings, counts, first.class_names, first.shape))
