"""Train a net without privacy until longer training does not help: what a private model is compared with."""

import copy
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from quintain.core.progress import Progress, no_progress
from quintain.core.seeds import derive_seed
from quintain.data.dataset import Dataset
from quintain.evaluate.model import clean_counts
from quintain.models.classifier import Classifier
from quintain.results.class_counts import ClassCounts
from quintain.training import Recipe, fit

FIRST_EPOCHS = 8
MIN_STEPS = 300
"""The shortest training that is tried has at least so many epochs, and at least so many steps."""

DOUBLINGS = 3
"""How often the length is doubled at most."""

HELD_OUT_SHARE = 10
"""One in so many training examples chooses the length, where there is no validation split."""


@dataclass(frozen=True, slots=True)
class PlainTraining:
    """A net trained without privacy.

    Args:
        counts: Correct predictions of the test examples.
        epochs: Epochs of the training that was kept.
        converged: Whether a training twice as long was tried and was no better on the held-out examples.
    """

    counts: ClassCounts
    epochs: int
    converged: bool


def train_until_converged(
    net: nn.Module,
    train: Dataset,
    test: Dataset,
    *,
    validation: Dataset | None = None,
    reached: float = 0.0,
    checkpoints: Path | None = None,
    progress: Progress = no_progress,
) -> PlainTraining:
    r"""Train for 8 epochs or more, then anew for twice as many each time, until that no longer helps.

    A longer training helps if its accuracy on the held-out examples is higher by more than the standard error
    :math:`\sqrt{p (1 - p) / n}`, and is tried as long as the accuracy is by more than that below ``reached``.
    The learning rate falls to 0 over each training, so that a longer one is a training of its own. The test
    examples choose nothing.

    Args:
        net: Fresh; left as it is.
        train: Training examples.
        test: Examples for the accuracy.
        validation: Held-out examples; one in ten of the training examples if not given, and the training of
            the length that they choose is then repeated on all of them.
        reached: Accuracy that the net is known to reach, such as with privacy.
        checkpoints: Folder for what an interrupted training resumes from.
        progress: Shows bars.
    """
    if validation is not None:
        learned, held_out = train, validation
    else:
        order = np.random.default_rng(derive_seed(0, "plain training", "held out")).permutation(len(train))
        count = max(1, len(train) // HELD_OUT_SHARE)
        learned, held_out = train.subset(np.sort(order[count:])), train.subset(np.sort(order[:count]))

    def trained(data: Dataset, epochs: int, name: str) -> Classifier:
        twin = copy.deepcopy(net)
        fit(
            twin,
            data,
            Recipe(epochs=epochs),
            checkpoint=checkpoints and checkpoints / f"{name}-{epochs}.safetensors",
            progress=progress,
            progress_label=f"plain training, {epochs} epochs",
        )
        return Classifier(twin, num_classes=test.num_classes)

    steps_per_epoch = math.ceil(len(learned) / Recipe(epochs=1).batch_size)
    epochs, converged = max(FIRST_EPOCHS, math.ceil(MIN_STEPS / steps_per_epoch)), False
    model = trained(learned, epochs, "plain")
    accuracy = clean_counts(model, held_out).accuracy
    for _ in range(DOUBLINGS):
        longer = trained(learned, 2 * epochs, "plain")
        found = clean_counts(longer, held_out).accuracy
        error = math.sqrt(accuracy * (1 - accuracy) / len(held_out))
        if found - accuracy <= error and accuracy >= reached - error:
            converged = True
            break
        epochs, model, accuracy = 2 * epochs, longer, found
    if validation is None:
        model = trained(train, epochs, "plain-all")
    return PlainTraining(clean_counts(model, test), epochs, converged)
