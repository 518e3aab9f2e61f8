"""A model's answers to public examples, as probabilities of the classes."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from quintain.core.errors import SettingError
from quintain.data.dataset import READ_BATCH_SIZE, Dataset
from quintain.leakage.view import AttackerView, ModelView

_SUM_TOLERANCE = 1e-3
"""How far a row of rounded probabilities may be from a sum of 1."""


def query_public(view: ModelView, data: Dataset, ids: Sequence[int]) -> Tensor:
    """Ask a model about some public examples, one query each.

    Returns:
        (n, K) float32 on the CPU: probabilities, or rows of 0 and 1 where the view gives labels.
    """
    answers = []
    for start in range(0, len(ids), READ_BATCH_SIZE):
        x, _ = data.batch(torch.tensor(ids[start : start + READ_BATCH_SIZE]))
        x = x.to(view.device, view.dtype)
        if view.access == "labels":
            labels = view.labels(x).cpu()
            answers.append(one_hot(labels, view.num_classes).float())
        else:
            answers.append(to_probabilities(view.scores(x).detach().cpu().float()))
    return torch.cat(answers)


def to_probabilities(scores: Tensor) -> Tensor:
    """Return scores (B, K) as probabilities: as they are where all rows are such, else their softmax.

    What a black box calls scores may be either.
    """
    sums = scores.sum(1)
    if bool((scores >= 0).all()) and bool(((sums - 1).abs() <= _SUM_TOLERANCE).all()):
        return scores / sums[:, None]
    return scores.softmax(1)


def require_model_view(view: AttackerView, *, attack: str) -> ModelView:
    """Return the view, if it is one of a model.

    Raises:
        SettingError: If it is of something else, such as updates.
    """
    if not isinstance(view, ModelView):
        raise SettingError(f"{attack} was given a view of {view.access}; expected a ModelView")
    return view
