"""Check data and model before any result on them is believed."""

import numpy as np

from quintain.core.progress import Progress, no_progress
from quintain.data.checks import check_data
from quintain.data.splits import Splits
from quintain.evaluate.step import StepOutput
from quintain.models.checks import check_model
from quintain.models.classifier import Classifier
from quintain.models.protocol import ClassifierLike
from quintain.results.robustness_records import CheckResult


def run_check(
    splits: Splits, model: ClassifierLike | None, *, trained: bool = True, progress: Progress = no_progress
) -> StepOutput:
    """Return all findings on the data and, where there is one, on the model, which may not be trained yet."""
    parts = splits.as_dict()
    first = next(iter(parts.values()))
    with progress.bar("check data", 1) as advance:
        findings = tuple(check_data(splits))
        advance(1)
    if model is not None:
        # the first call of a compiled net compiles it, which may last minutes
        with progress.bar(f"check model{_compilation_text(model)}", 1) as advance:
            findings += tuple(check_model(model, parts.get("test", first), trained=trained))
            advance(1)
    counts = tuple(
        (name, tuple(int(n) for n in np.bincount(part.labels, minlength=part.num_classes)))
        for name, part in parts.items()
    )
    return StepOutput(CheckResult(findings, counts, first.class_names, first.shape))


def _compilation_text(model: ClassifierLike) -> str:
    """Return a remark for compiled nets: the first call compiles them."""
    modules = model.net.modules() if isinstance(model, Classifier) else ()
    return ", compiling it" if any(hasattr(one, "_orig_mod") for one in modules) else ""
