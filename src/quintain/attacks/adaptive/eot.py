"""Expectation over transformation: the mean of a randomized model."""

import torch
from torch import Tensor

from quintain.attacks.counted_model import check_eval_mode
from quintain.attacks.outcome import Model
from quintain.core.limits import require_at_least


class EOT:
    r"""A randomized model replaced by the mean of its log probabilities over fresh forward passes.

    .. math:: \frac1n \sum_{i=1}^n \log softmax\, f(x; \omega_i)

    Every query, the confirmation included, takes ``samples`` forward passes, and each is counted. Whether the
    randomized model itself misclassifies a point is measured by ``majority_vote``, on forward passes that the
    attack did not see.

    Args:
        model: Gives logits (B, K), different ones at each call.
        samples: Forward passes per query.

    Raises:
        SettingError: If ``samples`` is below 1.
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
        """Forward passes per query."""
        return self.samples

    def __call__(self, x: Tensor) -> Tensor:
        """Return mean log probabilities (B, K)."""
        logits = self.model(x.repeat_interleave(self.samples, 0))
        return torch.log_softmax(logits, 1).view(len(x), self.samples, -1).mean(1)
