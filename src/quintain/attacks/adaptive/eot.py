"""Expectation over the draws of a random model."""

import torch
from torch import Tensor

from quintain.attacks.counted_model import check_eval_mode
from quintain.attacks.outcome import Model
from quintain.core.limits import require_at_least


class EOT:
    r"""A random model, answered by the mean of its log probabilities over fresh draws.

    .. math:: \frac1n \sum_{i=1}^n \log softmax\, f(x; \omega_i)

    Every answer, the final check included, takes ``samples`` fresh ones, and each counts as a question.
    Whether the random model itself is fooled at a point is for ``majority`` to say, on draws that the attack
    did not see.

    Args:
        model: Gives logits (B, K), other ones at each call.
        samples: How many.

    Raises:
        SettingError: If there is none.
        ModelError: If the model is a module in training mode.

    Source: Athalye et al., 2018, arXiv:1802.00420; arXiv:1707.07397.
    """

    def __init__(self, model: Model, samples: int = 20) -> None:
        check_eval_mode(model)
        require_at_least(1, samples=samples)
        self.model, self.samples = model, samples
        self.access = getattr(model, "access", "gradients")

    @property
    def queries_per_call(self) -> int:
        """What an answer costs."""
        return self.samples

    def __call__(self, x: Tensor) -> Tensor:
        """Mean log probabilities (B, K)."""
        logits = self.model(x.repeat_interleave(self.samples, 0))
        return torch.log_softmax(logits, 1).view(len(x), self.samples, -1).mean(1)
