"""The model that an evaluation speaks of."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from quintain.core.errors import ModelError
from quintain.data.dataset import Dataset
from quintain.models.classifier import Classifier
from quintain.models.protocol import ClassifierLike
from quintain.models.weights import save_weights
from quintain.results.artifacts import ModelFile
from quintain.results.class_counts import ClassCounts


@dataclass(frozen=True, slots=True)
class Subject:
    """A model with its names and its file.

    Args:
        model: What answers.
        file: How records name it.
    """

    model: ClassifierLike
    file: ModelFile

    @property
    def name(self) -> str:
        """Such as ``certified``."""
        return self.file.name


def stored(net: nn.Module, folder: Path, name: str, title: str, *, classes: int) -> Subject:
    """A net that was just trained, its weights written into the run folder."""
    path = Path("models") / f"{name}.safetensors"
    digest = save_weights(net, folder / path)
    return described(Classifier(net.eval(), classes=classes, name=name), name, title, path=path.as_posix(), digest=digest)


def described(model: ClassifierLike, name: str, title: str, *, path: str = "", digest: str = "") -> Subject:
    """A model with the names that records use."""
    return Subject(model, ModelFile(name, title, model.hash, model.num_parameters, path, digest))


@torch.inference_mode()
def answers(model: ClassifierLike, data: Dataset, *, batch: int = 512) -> np.ndarray:
    """The class that the model gives to each example (N,), -1 where it gives no number.

    Raises:
        ModelError: If it gives no number for any.
    """
    found = []
    for x, _, _ in data.batches(batch):
        logits = model(x)
        found.append(torch.where(torch.isnan(logits).any(1), -1, logits.argmax(1)))
    result: np.ndarray = torch.cat(found).numpy()
    if (result < 0).all():
        raise ModelError(
            "the model gives NaN for every example; look at its weights and at the range it expects: inputs here are in [0, 1]"
        )
    return result


def clean_tally(model: ClassifierLike, data: Dataset) -> ClassCounts:
    """Right answers on the examples as they are."""
    right = answers(model, data) == data.labels
    return tally(right, data.labels, data.classes)


def tally(right: np.ndarray, labels: np.ndarray, classes: int) -> ClassCounts:
    """Right answers class by class, from booleans (N,) and labels (N,)."""
    return ClassCounts(
        tuple(int(value) for value in np.bincount(labels[right], minlength=classes)),
        tuple(int(value) for value in np.bincount(labels, minlength=classes)),
    )
