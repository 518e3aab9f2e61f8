"""What FedAdam and FedYogi share: a server's step of adaptive size for each weight."""

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from quintain.core.errors import SettingError
from quintain.federated.strategies.strategy import State, Strategy

FIRST, SECOND = "first_moment", "second_moment"


@dataclass(frozen=True, slots=True)
class AdaptiveStep(Strategy):
    r"""An adaptive server optimizer: the average is a gradient of which moments are kept.

    .. math:: m \leftarrow \beta_1 m + (1 - \beta_1) \Delta, \quad
        \theta \leftarrow \theta + \eta\, \frac{m}{\sqrt{v} + \tau}

    with v from the squares of the averages, :math:`\tau^2` at first; no bias is corrected, as in Algorithm 2
    of the source.

    Args:
        learning_rate: eta, about the size of a weight's step.
        beta1, beta2: Of the moments. The source takes 0.9 for beta1; with few rounds, such as twelve, 0.5
            has fewer errors (docs/federated.md), since the first moment starts at 0.
        tau: Averages well below it are followed in proportion.

    Raises:
        SettingError: If a number is out of range.

    Source: Reddi et al., 2021, arXiv:2003.00295.
    """

    is_stateful: ClassVar[bool] = True

    learning_rate: float = 0.01
    beta1: float = 0.5
    beta2: float = 0.99
    tau: float = 1e-3

    def __post_init__(self) -> None:
        for name in ("learning_rate", "tau"):
            if not 0 < getattr(self, name) < math.inf:
                raise SettingError(f"{name} = {getattr(self, name)}; expected a positive finite number")
        # The second condition bounds a step (``largest_step``); the usual values keep it.
        if not (0 <= self.beta1 < 1 and 0.5 <= self.beta2 < 1 and self.beta1**2 < self.beta2):
            raise SettingError(
                f"beta1 = {self.beta1}, beta2 = {self.beta2}; expected beta1 in [0, 1), beta2 in [0.5, 1) "
                "and beta1^2 < beta2, such as 0.9 and 0.99"
            )

    @abstractmethod
    def second_moment(self, before: Tensor, square: Tensor) -> Tensor:
        """Return v (length,) after a step, from v before it and the squared average."""

    def step(
        self,
        mean: Tensor,
        state: State,
        weight_fraction: float,  # noqa: ARG002
    ) -> tuple[Tensor, State]:
        """Return the step of adaptive size."""
        first = state[FIRST] if state else mean.new_zeros(mean.shape)
        second = state[SECOND] if state else mean.new_full(mean.shape, self.tau**2)
        first = self.beta1 * first + (1 - self.beta1) * mean
        second = self.second_moment(second, mean.square())
        change = self.learning_rate * first / (second.sqrt() + self.tau)
        return change, {FIRST: first, SECOND: second}

    def largest_step(self, clip_value: float) -> float:
        r"""Return the largest step: each past average weighs in both moments.

        :math:`v \ge \beta_2^k (1 - \beta_2) \Delta_k^2` for the average of k steps ago, by either rule, so
        that :math:`|m| \le (1 - \beta_1) \sum_k (\beta_1 / \sqrt{\beta_2})^k \sqrt{v / (1 - \beta_2)}`; and
        :math:`|m|` is at most the clip.
        """
        ratio = self.beta1 / math.sqrt(self.beta2)
        by_moments = (1 - self.beta1) / ((1 - ratio) * math.sqrt(1 - self.beta2))
        return self.learning_rate * min(by_moments, clip_value / self.tau)
