"""A model that answers at random, asked several times."""

from dataclasses import dataclass
from functools import reduce
from operator import add

from torch import Tensor

from quintain.attacks.method import ACCESS, Access
from quintain.attacks.outcome import Model


@dataclass(frozen=True, slots=True)
class Averaged:
    """The mean of a model's logits over fresh draws: its gradient is the mean gradient, and its answer is the one that is judged.

    Args:
        model: Gives logits (B, K), not the same ones each time.
        draws: How often it is asked for each answer.
    """

    model: Model
    draws: int

    @property
    def access(self) -> Access:
        """What the model gives."""
        return getattr(self.model, "access", ACCESS[-1])

    @property
    def queries_per_answer(self) -> int:
        """How many questions to the model an answer is."""
        return self.draws * int(getattr(self.model, "queries_per_answer", 1))

    def __call__(self, x: Tensor) -> Tensor:
        """Mean logits (B, K) of inputs (B, *S)."""
        return reduce(add, (self.model(x) for _ in range(self.draws))) / self.draws
