"""Expectation over the draws of a random model."""

import torch
from torch import Tensor

from quintain.attacks.meter import require_evaluation
from quintain.attacks.outcome import Model
from quintain.core.limits import at_least


class EOT:
    r"""A random model, answered by the mean of its log probabilities over fresh draws.

    .. math:: \frac1n \sum_{i=1}^n \log softmax\, f(x; \omega_i)

    Every answer, the final check included, takes ``draws`` fresh ones, and each counts as a question. Whether the random model itself
    is fooled at a point is for ``majority`` to say, on draws that the attack did not see.

    Args:
        model: Gives logits (B, K), other ones at each call.
        draws: How many.

    Raises:
        SettingError: If there is none.
        ModelError: If the model is a module in training mode.

    Source: Athalye et al., 2018, arXiv:1802.00420; arXiv:1707.07397.
    """

    def __init__(self, model: Model, draws: int = 20) -> None:
        require_evaluation(model)
        at_least(1, draws=draws)
        self.model, self.draws = model, draws
        self.access = getattr(model, "access", "gradients")

    @property
    def queries_per_answer(self) -> int:
        """What an answer costs."""
        return self.draws

    def __call__(self, x: Tensor) -> Tensor:
        """Mean log probabilities (B, K)."""
        logits = self.model(x.repeat_interleave(self.draws, 0))
        return torch.log_softmax(logits, 1).view(len(x), self.draws, -1).mean(1)
