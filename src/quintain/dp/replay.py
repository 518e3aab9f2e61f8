"""Do weights move by what was released, and by nothing else? The plan's descent, computed again beside the
optimizer's.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from quintain.dp.training.plan import PrivatePlan
from quintain.results.specification import Measurement

RESOLVED = 0.1
"""Rounding that is a larger share of what noise moves the weights by could hide that it does not: then
nothing is measured.
"""


@dataclass(frozen=True, slots=True)
class Drift:
    """Weights against what the releases so far come to.

    Args:
        apart: Distance.
        allowed: The most that rounding can make of it.
        noise: What noise of one step alone moves them by, root mean square.
    """

    apart: float
    allowed: float
    noise: float


class Replay:
    r"""What the releases of a run come to: the velocity :math:`v \leftarrow \mu v + \tilde g`, the weights
    :math:`\theta \leftarrow \theta - \eta v`, and the moving average of these.

    Each step begins at the weights that were there after the one before, so that rounding does not add up.

    Args:
        parameters: Those that are trained, in the order of what is released, before the first step.
        plan: Rate, momentum and moving average.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], plan: PrivatePlan) -> None:
        self._parameters, self._plan = [p for p in parameters if p.requires_grad], plan
        self._before = self._weights
        self._velocity = self._mean = torch.zeros_like(self._before)
        self._steps, self._slack, self._mean_slack = 0, 0.0, 0.0
        self._rounding = max(torch.finfo(p.dtype).eps for p in self._parameters)
        unit = (
            plan.noise_multiplier * plan.max_grad_norm / plan.expected_batch_size
            if plan.noise_multiplier
            else 0.0
        )
        self._noise = plan.learning_rate * unit * math.sqrt(len(self._before))

    @torch.no_grad()
    def step(self, release: Tensor) -> Drift:
        """After each step, with what it released."""
        plan, now = self._plan, self._weights
        carried = plan.momentum * self._velocity
        self._velocity = carried + release
        apart = _norm(now - (self._before - plan.learning_rate * self._velocity))
        # each of a product, a sum and a difference is rounded once, by the optimizer and here; what the
        # velocity has of it decays
        self._slack = plan.momentum * self._slack + 2 * self._rounding * max(
            _norm(self._velocity), _norm(carried)
        )
        length = _norm(now)
        self._steps, self._before = self._steps + 1, now
        if plan.ema_decay:
            share = (1 - plan.ema_decay) / (1 - plan.ema_decay**self._steps)
            self._mean = self._mean + share * (now - self._mean)
            self._mean_slack = (1 - share) * self._mean_slack + 2 * self._rounding * (
                length + _norm(self._mean)
            )
        return Drift(apart, 2 * (self._rounding * length + plan.learning_rate * self._slack), self._noise)

    @torch.no_grad()
    def end(self) -> Drift:
        """After training, when the net holds the mean if the plan wants one."""
        ends = self._mean if self._plan.ema_decay and self._steps else self._before
        return Drift(_norm(self._weights - ends), self._mean_slack, self._noise)

    @property
    def _weights(self) -> Tensor:
        return torch.cat([p.detach().flatten() for p in self._parameters])


def weights_measurement(drifts: Sequence[Drift]) -> Measurement | None:
    """Whether the weights of a run were, after each step, where its releases lead; None where rounding could
    hide that they were not.
    """
    passed = all(one.apart <= one.allowed for one in drifts)
    if passed and not all(one.allowed <= RESOLVED * one.noise for one in drifts):
        return None
    most = max((one.apart / one.noise for one in drifts if one.noise), default=math.inf)
    text = "distance of the weights from where the releases lead, over what noise moves them by in a step"
    return Measurement("weights", 0.0, most, float(passed), text)


def _norm(values: Tensor) -> float:
    return float(torch.linalg.vector_norm(values, dtype=torch.float64))
