"""What the rest of an example says of a hidden attribute, without any model: the baseline, and a prior."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from quintain.core.errors import DataError
from quintain.core.progress import Progress, no_progress
from quintain.core.seeds import derive_seed
from quintain.data.dataset import READ_BATCH_SIZE, Dataset, from_arrays
from quintain.leakage.hidden_attribute import HiddenAttribute
from quintain.models.classifier import Classifier
from quintain.models.nets import mlp
from quintain.training.loop import fit
from quintain.training.recipe import Recipe

STEPS = 600
"""Steps that an imputer is trained for, at least."""

MIN_EXAMPLES = 20
"""Public examples that an imputer needs at least."""


@dataclass(frozen=True, slots=True)
class Imputer:
    """A small net from the rest of an example, and its label, to the hidden value.

    Args:
        attribute: What is hidden.
        num_classes: Classes of the labels; 0 where the label is not used.
        net: From (B, F + num_classes) to logits (B, V).
    """

    attribute: HiddenAttribute
    num_classes: int
    net: Classifier

    def log_probabilities(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the logarithm of the probability of each value (B, V), float64, of examples (B, *S).

        What ``x`` has in place of the attribute is not read.
        """
        with torch.no_grad():
            return self.net(_inputs(self.attribute, x, y, self.num_classes)).double().log_softmax(1)


def train_imputer(
    public: Dataset,
    attribute: HiddenAttribute,
    *,
    use_label: bool,
    seed: int,
    progress: Progress = no_progress,
) -> Imputer:
    """Return an imputer that is trained on public examples, whose values are known.

    Raises:
        DataError: If there are fewer than 20, all of one value, or some of none.
    """
    values = attribute.read_all(public)
    if len(public) < MIN_EXAMPLES or len(values.unique()) < 2:
        raise DataError(
            f"{len(public)} public examples with {len(values.unique())} values of {attribute.name}; expected "
            f"at least {MIN_EXAMPLES} examples with two"
        )
    num_classes = public.num_classes if use_label else 0
    inputs = torch.cat(
        [_inputs(attribute, batch.x, batch.y, num_classes) for batch in public.batches(READ_BATCH_SIZE)]
    )
    data = from_arrays(
        inputs.numpy(), values.numpy(), name=f"{public.name}, imputed", num_classes=len(attribute.values)
    )
    net = mlp(len(attribute.values), inputs.shape[1], 1, seed=derive_seed(seed, "imputer"))
    recipe = Recipe(
        epochs=max(5, math.ceil(STEPS / math.ceil(len(public) / 64))),
        batch_size=64,
        learning_rate=3e-3,
        weight_decay=1e-2,
    )
    fit(net, data, recipe, seed=derive_seed(seed, "imputer", "order"), progress=progress)
    return Imputer(attribute, num_classes, Classifier(net, num_classes=len(attribute.values), name="imputer"))


def most_frequent(public: Dataset, attribute: HiddenAttribute) -> int:
    """Return the number of the most frequent value."""
    return int(np.bincount(attribute.read_all(public).numpy()).argmax())


def _inputs(attribute: HiddenAttribute, x: Tensor, y: Tensor, num_classes: int) -> Tensor:
    """Return what an imputer reads (B, F + K): the example without its attribute, and its label."""
    flat = attribute.hide(x.float().cpu()).flatten(1)
    if not num_classes:
        return flat
    return torch.cat([flat, one_hot(y.cpu(), num_classes).float()], dim=1)
