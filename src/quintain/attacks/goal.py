"""The goal of an attack, any wrong class or a given one, and the losses that lead there."""

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
"""A value per example (n,) to maximize, from logits (n, K) and the rows (n,) of the batch that they belong
to.
"""

LOSSES = ("margin", "ce", "dlr", "probability_margin")
"""The losses that an attack can maximize, by name."""


@dataclass(frozen=True, slots=True, eq=False)
class Goal:
    """Which predictions count as a success, and the losses that lead there.

    Args:
        y: True classes (B,) long.
        targets: The class that must be predicted (B,) long; any wrong class if not given.
    """

    y: Tensor
    targets: Tensor | None = None

    def is_adversarial(self, logits: Tensor, rows: Tensor) -> Tensor:
        """Whether each prediction is a success (n,): the first of the largest logits decides.

        Logits with a NaN are never a success.
        """
        prediction = logits.argmax(1)
        hit = prediction != self.y[rows] if self.targets is None else prediction == self.targets[rows]
        return hit & ~logits.isnan().any(1)

    def margin(self, logits: Tensor, rows: Tensor) -> Tensor:
        r"""Return the margin (n,), positive where the prediction is adversarial.

        .. math:: \max_{j \ne y} z_j - z_y, \quad \text{with targets } z_t - \max_{j \ne t} z_j
        """
        return margin(logits, self.y[rows]) if self.targets is None else -margin(logits, self.targets[rows])

    def log_odds(self, logits: Tensor, rows: Tensor) -> Tensor:
        """Return log odds against the true class, or for the target (n,).

        They have the direction of the cross-entropy, without its underflow.
        """
        return (
            log_odds(logits, self.y[rows]) if self.targets is None else -log_odds(logits, self.targets[rows])
        )

    def dlr(self, logits: Tensor, rows: Tensor) -> Tensor:
        """Return the margin divided by a difference of the largest logits (n,).

        Scaling the logits does not change it.
        """
        return (
            dlr(logits, self.y[rows])
            if self.targets is None
            else self.margin(logits, rows) / targeted_dlr_scale(logits)
        )

    def probability_margin(self, logits: Tensor, rows: Tensor) -> Tensor:
        """Return the log of one plus the margin of probabilities (n,), without underflow."""
        own = self.y[rows] if self.targets is None else self.targets[rows]
        other = logits.detach().scatter(1, own[:, None], -torch.inf).argmax(1)
        return (
            log_probability_margin(logits, other, own)
            if self.targets is None
            else log_probability_margin(logits, own, other)
        )

    def toward_class(self, target_class: Tensor, *, scaled: bool = False) -> Loss:
        """Return the loss "logit of a given class minus logit of the true class".

        It only gives the direction of the search: any misclassification is still a success.

        Args:
            target_class: Classes (B,), none of them the true one.
            scaled: Divide by a difference of the largest logits, as the targeted DLR does.
        """

        def lead(logits: Tensor, rows: Tensor) -> Tensor:
            if scaled:
                return targeted_dlr(logits, self.y[rows], target_class[rows])
            chosen = torch.stack((target_class[rows], self.y[rows]), 1)
            return logits.gather(1, chosen) @ logits.new_tensor([1.0, -1.0])

        return lead

    def loss(self, name: str) -> Loss:
        """Return the loss of a name.

        Raises:
            SettingError: If there is none.
        """
        if name not in LOSSES:
            raise SettingError(f"loss = {name!r}; expected one of {', '.join(LOSSES)}")
        return {
            "margin": self.margin,
            "ce": self.log_odds,
            "dlr": self.dlr,
            "probability_margin": self.probability_margin,
        }[name]
