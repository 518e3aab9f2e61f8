"""A model's answers, whatever a black box calls its scores, as an attacker reads them."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from quintain.core.errors import DataError, SettingError
from quintain.data.dataset import READ_BATCH_SIZE, Dataset
from quintain.leakage.view import AttackerView, ModelView
from quintain.losses.cross_entropy import log_odds

_SUM_TOLERANCE = 1e-3
"""How far a row of rounded probabilities may be from a sum of 1."""

_MIN_PROBABILITY = 1e-30
"""Probabilities of 0 count as this one, so that their logarithms are numbers."""


def query_public(view: ModelView, data: Dataset, ids: Sequence[int]) -> Tensor:
    """Query a model on some public examples, once each.

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
            answers.append(to_logits(view.scores(x).detach().cpu().float()).softmax(1))
    return torch.cat(answers)


def query_log_odds(view: ModelView, x: Tensor, y: Tensor) -> Tensor:
    r"""Query a model on examples (n, *S), once each, and return the log odds of their labels.

    .. math:: \phi = \ln\frac{p_y}{1 - p_y} = z_y - \ln\sum_{j \ne y} e^{z_j}

    in float64 (n,) on the CPU, from logits, since of :math:`1 - p_y` nothing is left where a model is sure.

    Raises:
        DataError: If an answer is no number.
    """
    found = []
    for start in range(0, len(x), READ_BATCH_SIZE):
        rows = slice(start, start + READ_BATCH_SIZE)
        scores = view.scores(x[rows].to(view.device, view.dtype)).detach().cpu().double()
        if not bool(scores.isfinite().all()):
            raise DataError("the model gave scores that are no finite numbers; expected finite ones")
        found.append(-log_odds(to_logits(scores), y[rows].cpu()))
    return torch.cat(found) if found else torch.empty(0, dtype=torch.float64)


def to_logits(scores: Tensor) -> Tensor:
    """Return scores (B, K) as logits: their logarithms if all rows are probabilities, else as they are.

    What a black box calls scores may be either. A single row of logits may look like probabilities, as
    (1, 0) does.
    """
    are_probabilities = (scores >= 0).all() & ((scores.sum(1) - 1).abs() <= _SUM_TOLERANCE).all()
    return torch.where(are_probabilities, scores.clamp(min=_MIN_PROBABILITY).log(), scores)


def require_model_view(view: AttackerView, *, attack: str) -> ModelView:
    """Return the view, if it is one of a model.

    Raises:
        SettingError: If it is of something else, such as updates.
    """
    if not isinstance(view, ModelView):
        raise SettingError(f"{attack} was given a view of {view.access}; expected a ModelView")
    return view
