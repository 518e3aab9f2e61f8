"""The confidence of a model in a label, and the copies of an example that it is queried on."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quintain.core.errors import DataError, SettingError
from quintain.leakage.answers import to_logits
from quintain.losses.cross_entropy import log_odds

BATCH = 256
"""Examples that are queried at once."""

MAX_COPIES = 18
"""The example and its mirror image, each as it is and shifted by one pixel in eight directions."""

_SHIFTS = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))


def logit_confidence(scores: Tensor, y: Tensor, *, name: str = "the model") -> NDArray[np.float64]:
    r"""Return the log odds of label y by a model's ``scores`` (B, K), in float64 (B,).

    .. math:: \phi = \ln p_y - \ln \sum_{j \ne y} p_j

    Args:
        scores: Logits, probabilities or log probabilities.
        y: Labels (B,).
        name: What errors call the model.

    Raises:
        DataError: For scores that are not finite.

    Source: Carlini et al., 2022, arXiv:2112.03570.
    """
    values = scores.detach().cpu().double()
    if not bool(values.isfinite().all()):
        raise DataError(f"{name} gave scores that are NaN or infinite; expected finite ones")
    return np.asarray(-log_odds(to_logits(values), y.cpu()).numpy(), dtype=np.float64)


def log_probability(confidence: NDArray[np.float64]) -> NDArray[np.float64]:
    r"""Return :math:`\ln p_y = -\ln(1 + e^{-\phi})` of log odds."""
    return -np.logaddexp(0.0, -confidence)


def make_copy(x: Tensor, number: int) -> Tensor:
    """Return copy ``number`` of examples (B, *S): 0 is as they are, 1 is mirrored, later ones are shifted.

    Shifts leave the edge's pixels where nothing moves in. Other shapes than (C, H, W) have copy 0 alone.
    """
    if number == 0:
        return x
    dy, dx = _SHIFTS[number // 2]
    flipped = x.flip(-1) if number % 2 else x
    rows = (torch.arange(x.shape[-2]) - dy).clamp(0, x.shape[-2] - 1).to(x.device)
    columns = (torch.arange(x.shape[-1]) - dx).clamp(0, x.shape[-1] - 1).to(x.device)
    return flipped.index_select(-2, rows).index_select(-1, columns)


def count_copies(wanted: int, shape: tuple[int, ...], budget: int, *, attack: str) -> int:
    """Return how many copies of each example are queried: the fewest of those wanted, allowed and available.

    Raises:
        SettingError: If none is.
    """
    if budget < 1 or not 1 <= wanted <= MAX_COPIES:
        raise SettingError(
            f"{attack} with {wanted} copies and a budget of {budget} queries for each candidate; expected "
            f"1 to {MAX_COPIES} copies, and at least one query"
        )
    return min(wanted, budget) if len(shape) == 3 else 1


def query_confidences(
    model: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    *,
    number: int = 0,
    name: str = "the model",
    advance: Callable[[int], None] = lambda _done: None,
) -> NDArray[np.float64]:
    """Return the log odds (n,) that a model gives the labels of one copy of each example (n, *S)."""
    found = []
    for start in range(0, len(x), BATCH):
        rows = slice(start, start + BATCH)
        found.append(logit_confidence(model(make_copy(x[rows], number)), y[rows], name=name))
        advance(len(found[-1]))
    return np.concatenate(found) if found else np.empty(0)
