"""The model under evaluation, its predictions and its counts."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from quintain.core.errors import ModelError
from quintain.data.dataset import Dataset
from quintain.models.classifier import Classifier
from quintain.models.memory import in_fitting_parts
from quintain.models.precision import in_full_precision
from quintain.models.protocol import ClassifierLike
from quintain.models.weights import save_weights
from quintain.results.artifacts import ModelFile
from quintain.results.class_counts import ClassCounts
from quintain.results.per_example import PerExample
from quintain.results.run_layout import MODELS


@dataclass(frozen=True, slots=True)
class EvaluatedModel:
    """A model with its names and its file.

    Args:
        model: The model.
        file: How records name it.
        build: Builds a net of this kind, whatever its weights, in another process; None if that is not known.
    """

    model: ClassifierLike
    file: ModelFile
    build: Callable[[], Classifier] | None = None

    @property
    def name(self) -> str:
        """Such as ``certified``."""
        return self.file.name


def save_model(net: nn.Module, folder: Path, name: str, title: str, *, classes: int) -> EvaluatedModel:
    """Save the weights of a trained net into the run folder; return it as a model under evaluation."""
    path = Path(MODELS) / f"{name}.safetensors"
    digest = save_weights(net, folder / path)
    return named_model(
        Classifier(net.eval(), num_classes=classes, name=name),
        name,
        title,
        path=path.as_posix(),
        digest=digest,
    )


def named_model(
    model: ClassifierLike,
    name: str,
    title: str,
    *,
    path: str = "",
    digest: str = "",
    build: Callable[[], Classifier] | None = None,
) -> EvaluatedModel:
    """Return a model with the names that records use, and how it is built."""
    return EvaluatedModel(
        model,
        ModelFile(
            name=name,
            title=title,
            model_hash=model.hash,
            num_parameters=model.num_parameters,
            path=path,
            sha256=digest,
        ),
        build,
    )


@in_full_precision
@torch.inference_mode()
def predictions(model: ClassifierLike, data: Dataset, *, batch_size: int = 512) -> np.ndarray:
    """Return the class that the model predicts for each example (N,), -1 where its output is NaN.

    Raises:
        ModelError: If its output is NaN for every example.
    """
    result = predicted_classes(model, data, batch_size=batch_size)
    if (result < 0).all():
        raise ModelError(
            "the model gives NaN for every example; look at its weights and at the range it expects: inputs "
            "here are in [0, 1]"
        )
    return result


@in_full_precision
@torch.inference_mode()
def predicted_classes(model: ClassifierLike, data: Dataset, *, batch_size: int = 512) -> np.ndarray:
    """Return the predictions (N,) as ``predictions`` does, also where all outputs are NaN: -1 for each."""
    found: list[Tensor] = []
    for x, _, _ in data.batches(batch_size):
        found += in_fitting_parts(partial(_predictions, model, x), len(x), work="prediction")
    result: np.ndarray = torch.cat(found).numpy()
    return result


def _predictions(model: ClassifierLike, x: Tensor, part: slice) -> Tensor:
    logits = model(x[part])
    return torch.where(torch.isnan(logits).any(1), -1, logits.argmax(1))


def clean_counts(model: ClassifierLike, data: Dataset) -> ClassCounts:
    """Count the correct predictions on unchanged examples."""
    correct = predictions(model, data) == data.labels
    return ClassCounts.of(correct, data.labels, data.num_classes)


def is_better_than_majority(model: ClassifierLike, data: Dataset) -> bool:
    """Whether a model is better than the majority class on examples, which chance does not explain."""
    return clean_counts(model, data).is_better_than_majority


def per_example(
    data: Dataset,
    predicted: np.ndarray,
    certified: np.ndarray,
    broken: np.ndarray,
    invalid: np.ndarray,
    abstained: np.ndarray | None = None,
) -> PerExample:
    """Return what is known of N examples as a record keeps it."""
    return PerExample(
        ids=tuple(range(len(data))),
        labels=tuple(int(label) for label in data.labels),
        predicted=tuple(int(label) for label in predicted),
        certified_radius=tuple(float(radius) for radius in certified),
        broken_radius=tuple(float(radius) for radius in broken),
        invalid=tuple(bool(flag) for flag in invalid),
        abstained_radius=() if abstained is None else tuple(float(radius) for radius in abstained),
    )
