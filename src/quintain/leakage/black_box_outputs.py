"""What the model of a black box returns, checked and as logits, and how many labels it predicts right."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quintain.core.errors import ModelError
from quintain.leakage.answers import to_logits
from quintain.models.adapters import adapt, label_hint
from quintain.results.class_counts import ClassCounts

BATCH_SIZE = 256

LARGEST_LOGIT = 1e100


def black_box_logits(
    model: Callable[[Tensor], Any], x: Tensor, *, num_classes: int, name: str = "train"
) -> Tensor:
    """Return the logits (N, K) of a model in float64, on the CPU; those of probabilities, too.

    Args:
        model: Maps inputs (B, *S) to logits, or to probabilities (B, K).
        x: Inputs (N, *S).
        num_classes: Of the data; the model may have more.
        name: Of the training, for messages.

    Raises:
        ModelError: For outputs of another shape, of fewer classes, NaN or infinite.
    """
    outputs = torch.cat([_outputs(model, part.contiguous(), name) for part in x.split(BATCH_SIZE)])
    _check_outputs(outputs, num_classes, name)
    # Beyond that a difference of two would overflow, and tells no more.
    return to_logits(outputs).clamp(-LARGEST_LOGIT, LARGEST_LOGIT)


def count_correct(
    model: Callable[[Tensor], Any], x: Tensor, y: Tensor, *, num_classes: int, name: str = "train"
) -> ClassCounts:
    """Count the labels y (N,) that a model predicts right, by class.

    Args:
        model, x, num_classes, name: As of ``black_box_logits``.
        y: Labels below ``num_classes``.

    Raises:
        ModelError: As ``black_box_logits``.
    """
    correct = (black_box_logits(model, x, num_classes=num_classes, name=name).argmax(1) == y).numpy()
    return ClassCounts.of(correct, y.numpy(), num_classes)


def _check_outputs(outputs: Tensor, num_classes: int, name: str) -> None:
    """Raise ModelError for outputs (N, K) of too few classes, or that are no numbers."""
    if outputs.shape[1] < num_classes:
        raise ModelError(
            f"{name} returns a model of {outputs.shape[1]} classes; expected {num_classes}, as the data have"
            f"{label_hint(outputs.shape[1], num_classes)}"
        )
    if not torch.isfinite(outputs).all():
        wrong = int((~torch.isfinite(outputs)).any(1).sum())
        raise ModelError(
            f"{name} returns a model whose outputs are NaN or infinite on {wrong} of {len(outputs)} inputs; "
            "expected finite scores: look at the loss while it trains, a smaller learning rate may help"
        )


def _outputs(model: Callable[[Tensor], Any], x: Tensor, name: str) -> Tensor:
    """Return the outputs (B, K) of one batch in float64, on the CPU."""
    with torch.no_grad():
        output = model(x)
    if not isinstance(output, Tensor | dict | tuple | list) and hasattr(output, "__array__"):
        output = torch.from_numpy(np.array(output))
    try:
        return adapt(output, len(x)).detach().cpu().double()
    except ModelError as error:
        raise ModelError(f"{name}: {error}") from error
