r"""The score of a canary by the final model alone: how sure it is of the canary's label, here and nearby."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from quintain.leakage.black_box_outputs import black_box_logits
from quintain.leakage.canary_kinds import CanaryExamples
from quintain.losses.cross_entropy import log_odds

SHIFTS = tuple((i, j) for i in range(3) for j in range(3) if (i, j) != (1, 1))
"""Where an image is cut out of itself with a rim of one pixel: eight neighbors, one pixel away."""


def canary_scores(
    model: Callable[[Tensor], Any], canaries: CanaryExamples, *, num_classes: int, name: str = "train"
) -> NDArray[np.float64]:
    r"""Compute the score of each canary (m,) in float64; larger means more likely trained on.

    .. math:: s_i = \phi(x_i, y_i) + \Big(\phi(x_i, y_i) - \frac{1}{8} \sum_j \phi(T_j x_i, y_i)\Big), \qquad
        \phi(x, y) = \ln p_y(x) - \ln \sum_{k \ne y} p_k(x)

    where :math:`T_j` shifts an image by one pixel to each of the eight sides. A model is sure of an example
    that it remembers, and less so of its neighbors; how hard the example is by itself is much the same for
    both, and cancels. For what are no images, the score is :math:`\phi` alone.

    Any score that follows from the model alone makes a valid audit. This one was chosen on seeds apart from
    those of which figures are shown.

    Args:
        model: Maps inputs (B, *S) to logits, or to probabilities (B, K).
        canaries: The canaries, those that were trained on and those that were not.
        num_classes: Of the data.
        name: Of the training, for messages.

    Raises:
        ModelError: For outputs of another shape, of fewer classes, or NaN.

    Source: Carlini et al., 2022, arXiv:2112.03570 (the logit-scaled confidence); Choquette-Choo et al., 2021,
    arXiv:2007.14321, and Jayaraman et al., 2021, arXiv:2005.10881 (neighbors tell what is remembered).
    """
    examples = canaries.x
    if canaries.x.ndim == 4:
        height, width = canaries.x.shape[-2:]
        rim = pad(canaries.x, (1, 1, 1, 1), mode="replicate")
        shifted = [rim[:, :, i : i + height, j : j + width] for i, j in SHIFTS]
        examples = torch.cat([canaries.x, *shifted])
    logits = black_box_logits(model, examples, num_classes=num_classes, name=name)
    odds = -log_odds(logits, canaries.y.repeat(len(examples) // len(canaries)))
    at, *nearby = odds.numpy().reshape(-1, len(canaries))
    return 2 * at - np.mean(nearby, axis=0) if nearby else at
