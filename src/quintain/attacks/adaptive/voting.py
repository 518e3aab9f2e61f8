"""How often a randomized model misclassifies a point, over fresh forward passes."""

from dataclasses import dataclass

import torch
from torch import Tensor

from quintain.attacks.outcome import Model
from quintain.core.limits import require_at_least
from quintain.core.statistics import binomial_interval


@dataclass(frozen=True, slots=True)
class MajorityVote:
    """How many of the forward passes of one example were misclassified.

    Args:
        wrong: Number of misclassifications.
        samples: Number of forward passes.
        ci_low, ci_high: 95 % Clopper-Pearson interval of the probability of misclassification.
    """

    wrong: int
    samples: int
    ci_low: float
    ci_high: float

    @property
    def misclassified(self) -> bool:
        """Whether it is misclassified in more than half of all passes, at 95 % confidence.

        The wrong classes are counted together: the most frequent prediction may still be the true class.
        """
        return self.ci_low > 0.5


@torch.no_grad()
def majority_vote(
    model: Model, z: Tensor, y: Tensor, *, samples: int = 100, batch_size: int = 512
) -> tuple[MajorityVote, ...]:
    """Count how often a randomized model misclassifies each point, in ``samples`` forward passes of it.

    Args:
        model: Gives logits (B, K), different ones at each call.
        z: Points (B, *S).
        y: True classes (B,).
        samples: Forward passes of each point.
        batch_size: Points per call; one point may be in it several times.

    Returns:
        One result per point, in their order.

    Raises:
        SettingError: If ``samples`` or ``batch_size`` is below 1.
    """
    require_at_least(1, samples=samples, batch_size=batch_size)
    repeated = torch.arange(len(z), device=z.device).repeat_interleave(samples)
    wrong = torch.zeros(len(z), dtype=torch.long, device=z.device)
    for rows in repeated.split(batch_size):
        wrong.index_add_(0, rows, (model(z[rows]).argmax(1) != y[rows]).long())
    return tuple(
        MajorityVote(count, samples, *binomial_interval(count, samples, 0.95)) for count in wrong.tolist()
    )
