"""The verdict on a random model: what most fresh draws say."""

from dataclasses import dataclass

import torch
from torch import Tensor

from quintain.attacks.outcome import Model
from quintain.core.limits import at_least
from quintain.core.statistics import binomial_interval


@dataclass(frozen=True, slots=True)
class Vote:
    """Wrong answers to one example.

    Args:
        wrong: How many of the draws were answered wrongly.
        draws: How many there were.
        low, high: 95 % Clopper-Pearson interval of the chance of a wrong answer.
    """

    wrong: int
    draws: int
    low: float
    high: float

    @property
    def broken(self) -> bool:
        """Whether a wrong answer is the likelier one, beyond chance."""
        return self.low > 0.5


@torch.no_grad()
def majority(model: Model, z: Tensor, y: Tensor, *, draws: int = 100, batch: int = 512) -> tuple[Vote, ...]:
    """Ask a random model about each point many times.

    Args:
        model: Gives logits (B, K), other ones at each call.
        z: Points (B, *S).
        y: True classes (B,).
        draws: Fresh draws for each point.
        batch: Questions at a time.

    Raises:
        SettingError: If there are no draws.
    """
    at_least(1, draws=draws)
    asked = torch.arange(len(z), device=z.device).repeat_interleave(draws)
    wrong = torch.zeros(len(z), dtype=torch.long, device=z.device)
    for rows in asked.split(batch):
        wrong.index_add_(0, rows, (model(z[rows]).argmax(1) != y[rows]).long())
    return tuple(Vote(count, draws, *binomial_interval(count, draws, 0.95)) for count in wrong.tolist())
