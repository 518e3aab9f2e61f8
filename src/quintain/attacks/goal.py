"""What an attack is after: any wrong answer, or one chosen class; and the losses that lead there."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from quintain.core.errors import SettingError
from quintain.losses.cross_entropy import log_odds
from quintain.losses.dlr import dlr, targeted_dlr, targeted_dlr_scale
from quintain.losses.margin import margin
from quintain.losses.probability import log_probability_margin

Loss = Callable[[Tensor, Tensor], Tensor]
"""A value per example (n,) to be raised, from logits (n, K) and the rows (n,) of the batch that they belong to."""

LOSSES = ("margin", "ce", "dlr", "probability")
"""The losses that an attack can be told to ascend."""


@dataclass(frozen=True, slots=True, eq=False)
class Goal:
    """The answer that counts as a break.

    Args:
        y: True classes (B,) long.
        targets: The class to be answered instead (B,) long; any wrong class if not given.
    """

    y: Tensor
    targets: Tensor | None = None

    def is_adversarial(self, logits: Tensor, rows: Tensor) -> Tensor:
        """Whether the answer is one (n,): the first of the largest logits decides; NaN is no answer."""
        prediction = logits.argmax(1)
        hit = prediction != self.y[rows] if self.targets is None else prediction == self.targets[rows]
        return hit & ~logits.isnan().any(1)

    def margin(self, logits: Tensor, rows: Tensor) -> Tensor:
        r"""What decides (n,), positive where the goal is reached: :math:`\max_{j \ne y} z_j - z_y`, or :math:`z_t - \max_{j \ne t} z_j`."""
        return margin(logits, self.y[rows]) if self.targets is None else -margin(logits, self.targets[rows])

    def log_odds(self, logits: Tensor, rows: Tensor) -> Tensor:
        """Log odds against the true class, or for the target (n,): the cross-entropy's direction without its underflow."""
        return log_odds(logits, self.y[rows]) if self.targets is None else -log_odds(logits, self.targets[rows])

    def dlr(self, logits: Tensor, rows: Tensor) -> Tensor:
        """The margin over the spread of the largest logits (n,), which scaling the logits does not change."""
        return dlr(logits, self.y[rows]) if self.targets is None else self.margin(logits, rows) / targeted_dlr_scale(logits)

    def probability(self, logits: Tensor, rows: Tensor) -> Tensor:
        """The margin of probabilities (n,), best other minus true, or target minus best other; in logarithms, without underflow."""
        own = self.y[rows] if self.targets is None else self.targets[rows]
        other = logits.detach().scatter(1, own[:, None], -torch.inf).argmax(1)
        return log_probability_margin(logits, other, own) if self.targets is None else log_probability_margin(logits, own, other)

    def toward_class(self, target_class: Tensor, *, scaled: bool = False) -> Loss:
        """The lead (n,) of one class an example, ``target_class`` (B,), over the true one: a guide, since any wrong class counts as broken.

        Args:
            target_class: Classes (B,), none of them the true one.
            scaled: Divide by the spread of the largest logits, as the targeted DLR does.
        """

        def lead(logits: Tensor, rows: Tensor) -> Tensor:
            if scaled:
                return targeted_dlr(logits, self.y[rows], target_class[rows])
            chosen = torch.stack((target_class[rows], self.y[rows]), 1)
            return logits.gather(1, chosen) @ logits.new_tensor([1.0, -1.0])

        return lead

    def loss(self, name: str) -> Loss:
        """The loss of a name.

        Raises:
            SettingError: If there is none.
        """
        if name not in LOSSES:
            raise SettingError(f"loss = {name!r}; expected one of {', '.join(LOSSES)}")
        return {"margin": self.margin, "ce": self.log_odds, "dlr": self.dlr, "probability": self.probability}[name]
