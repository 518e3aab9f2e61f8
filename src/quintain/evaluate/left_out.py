"""Claims on all examples, where attacks aim at a class and leave that class's own examples out."""

import numpy as np

from quintain.data.dataset import Dataset
from quintain.evaluate.model import EvaluatedModel, per_example, predicted_classes
from quintain.results.per_example import PerExample


def predict_left_out(subject: EvaluatedModel, sampled: Dataset, target_class: int | None) -> np.ndarray:
    """Return the predictions (M,) for the examples of a target class, which no attack is run on.

    Args:
        subject: The model.
        sampled: All examples.
        target_class: The class that attacks aim at; none is left out if not given.
    """
    rows = _is_of_target_class(sampled, target_class)
    if not rows.any():
        return np.zeros(0, np.int64)
    return predicted_classes(subject.model, sampled.subset(np.flatnonzero(rows)))


def with_left_out(
    attacked: PerExample, sampled: Dataset, target_class: int | None, predicted: np.ndarray
) -> PerExample:
    """Return what is known of all examples: those left out are broken only where they are misclassified.

    So the accuracy that an attack toward one class leaves is an upper bound for all examples, too.

    Args:
        attacked: What is known of the N - M examples that are not of the target class.
        sampled: All N examples.
        target_class: The class that attacks aim at; none is left out if not given.
        predicted: Predictions (M,) for those left out, -1 for NaN.
    """
    rows = _is_of_target_class(sampled, target_class)
    if not rows.any():
        return attacked
    labels = sampled.labels
    all_predicted = np.empty(len(sampled), np.int64)
    all_predicted[rows], all_predicted[~rows] = predicted, attacked.predicted
    broken = np.where(all_predicted == labels, np.inf, 0.0)
    broken[~rows] = attacked.broken_radius
    invalid = all_predicted < 0
    invalid[~rows] = attacked.invalid
    broken[rows & invalid] = np.inf
    return per_example(sampled, all_predicted, np.zeros(len(sampled)), broken, invalid)


def _is_of_target_class(sampled: Dataset, target_class: int | None) -> np.ndarray:
    """Return which examples (N,) are of the target class."""
    return np.zeros(len(sampled), bool) if target_class is None else sampled.labels == target_class
