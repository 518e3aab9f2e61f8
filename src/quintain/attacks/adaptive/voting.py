"""The verdict on a random model: what most fresh draws say."""

from dataclasses import dataclass

import torch
from torch import Tensor

from quintain.attacks.outcome import Model
from quintain.core.limits import require_at_least
from quintain.core.statistics import binomial_interval


@dataclass(frozen=True, slots=True)
class MajorityVote:
    """Wrong answers to one example.

    Args:
        wrong: How many of the draws were answered wrongly.
        samples: How many there were.
        ci_low, ci_high: 95 % Clopper-Pearson interval of the chance of a wrong answer.
    """

    wrong: int
    samples: int
    ci_low: float
    ci_high: float

    @property
    def misclassified(self) -> bool:
        """Whether a wrong answer is the likelier one, beyond chance."""
        return self.ci_low > 0.5


@torch.no_grad()
def majority_vote(model: Model, z: Tensor, y: Tensor, *, samples: int = 100, batch_size: int = 512) -> tuple[MajorityVote, ...]:
    """Ask a random model about each point many times.

    Args:
        model: Gives logits (B, K), other ones at each call.
        z: Points (B, *S).
        y: True classes (B,).
        samples: Fresh draws for each point.
        batch_size: Questions at a time.

    Raises:
        SettingError: If there are no draws.
    """
    require_at_least(1, samples=samples)
    repeated = torch.arange(len(z), device=z.device).repeat_interleave(samples)
    wrong = torch.zeros(len(z), dtype=torch.long, device=z.device)
    for rows in repeated.split(batch_size):
        wrong.index_add_(0, rows, (model(z[rows]).argmax(1) != y[rows]).long())
    return tuple(MajorityVote(count, samples, *binomial_interval(count, samples, 0.95)) for count in wrong.tolist())
