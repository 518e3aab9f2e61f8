"""Notes on nets that were trained as the target was, and look as if they had learned nothing.

Attacks with such shadow models, or on such a retrained target, find nothing, whatever the model leaks.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from quintain.core.seeds import derive_seed
from quintain.data.dataset import Dataset
from quintain.evaluate.model import clean_counts
from quintain.leakage.black_box_outputs import count_correct
from quintain.leakage.knowledge import Shadows
from quintain.models.protocol import ClassifierLike
from quintain.results.class_counts import ClassCounts

MAX_EXAMPLES = 500
"""Most training examples that each net is tested on."""


def retrained_notes(model: ClassifierLike, trained_on: Dataset, *, name: str) -> tuple[str, ...]:
    """Say of a net that was trained like the target whether it looks untrained.

    Args:
        model: The net.
        trained_on: What it was trained on.
        name: What it is called.
    """
    counts = clean_counts(model, _some(trained_on))
    if not counts.seems_untrained:
        return ()
    return (
        f"{name} is right on {counts.num_correct:,} of {counts.num_examples:,} examples that it was trained "
        f"on, of which {max(counts.total):,} are of one class: it is not shown to have learned anything, and "
        "that attacks find little in it says little; see that the training that was given trains",
    )


def shadow_notes(
    shadows: Shadows, target: ClassifierLike, pool: Dataset, is_member: NDArray[np.bool_]
) -> tuple[str, ...]:
    """Say whether shadow models look untrained, beside the target.

    Args:
        shadows: The shadow models.
        target: The model that they are like.
        pool: The candidates (N,).
        is_member: Which of them the target was trained on, (N,).
    """
    counts = [
        _counts(model, pool.subset(np.flatnonzero(included)), f"shadow model {number + 1}")
        for number, (model, included) in enumerate(zip(shadows.models, shadows.included, strict=True))
    ]
    untrained = sum(one.seems_untrained for one in counts)
    if not untrained:
        return ()
    right = float(np.mean([one.accuracy for one in counts]))
    majority = float(np.mean([one.majority_accuracy for one in counts]))
    accuracy = clean_counts(target, _some(pool.subset(np.flatnonzero(is_member)))).accuracy
    return (
        f"{untrained} of {len(counts)} shadow models are not shown to have learned anything: on average they "
        f"are right on {100 * right:.1f} % of the candidates that they were trained on, of which "
        f"{100 * majority:.1f} % are of one class, and the model on {100 * accuracy:.1f} % of its own. That "
        "attacks with such shadow models find little says little; see that the training that was given "
        "trains as the model was trained",
    )


def _counts(model: Callable[[Tensor], Tensor], trained_on: Dataset, name: str) -> ClassCounts:
    """Count what one shadow model predicts right of what it was trained on."""
    data = _some(trained_on)
    x, y = data.tensors
    return count_correct(model, x, y, num_classes=data.num_classes, name=name)


def _some(data: Dataset) -> Dataset:
    return data.sample(MAX_EXAMPLES, seed=derive_seed(0, "untrained"))
