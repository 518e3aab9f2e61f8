"""Recomputes the weights of a private training from its releases, to check that nothing else moves them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from quintain.dp.training.plan import PrivatePlan
from quintain.results.specification import Measurement

MAX_ROUNDING = 0.1
"""Largest rounding error, as a fraction of ``noise_norm``, at which the weights are measured.

A larger one could hide that the noise does not move the weights.
"""


@dataclass(frozen=True, slots=True)
class Drift:
    """The distance of the weights from those that follow from the releases so far.

    Args:
        distance: Euclidean distance.
        rounding_bound: The largest distance that rounding can cause.
        noise_norm: Root mean square of the distance by which the noise of one step moves the weights.
    """

    distance: float
    rounding_bound: float
    noise_norm: float


class Replay:
    r"""The weights of a run, recomputed from its releases by SGD with momentum and a moving average.

    .. math:: v \leftarrow \mu v + \tilde g, \quad \theta \leftarrow \theta - \eta v

    Each step begins at the weights that the optimizer left after the last one, so that rounding does not add
    up.

    Args:
        parameters: The parameters before the first step, in the order of the releases; frozen ones are left
            out.
        plan: Gives learning rate, momentum, decay of the moving average, and the size of the noise.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], plan: PrivatePlan) -> None:
        self._parameters, self._plan = [p for p in parameters if p.requires_grad], plan
        self._previous_weights = self._weights
        self._velocity = self._average = torch.zeros_like(self._previous_weights)
        # bounds on what rounding makes of the velocity and of the moving average
        self._steps, self._velocity_error, self._average_error = 0, 0.0, 0.0
        self._machine_eps = max(torch.finfo(p.dtype).eps for p in self._parameters)
        noise_std = (
            plan.noise_multiplier * plan.max_grad_norm / plan.expected_batch_size
            if plan.noise_multiplier
            else 0.0
        )
        self._noise_norm = plan.learning_rate * noise_std * math.sqrt(len(self._previous_weights))

    @torch.no_grad()
    def step(self, release: Tensor) -> Drift:
        """Return how far the weights are off, after each step, given what it released (P,)."""
        plan, weights = self._plan, self._weights
        # v = mu v + g, theta = theta_before - eta v
        decayed_velocity = plan.momentum * self._velocity
        self._velocity = decayed_velocity + release
        distance = _norm(weights - (self._previous_weights - plan.learning_rate * self._velocity))
        # The optimizer rounds each product and sum once, and so does this replay; errors of the velocity
        # decay with it.
        self._velocity_error = plan.momentum * self._velocity_error + 2 * self._machine_eps * max(
            _norm(self._velocity), _norm(decayed_velocity)
        )
        weights_norm = _norm(weights)
        rounding_bound = 2 * (self._machine_eps * weights_norm + plan.learning_rate * self._velocity_error)
        self._steps, self._previous_weights = self._steps + 1, weights
        # moving average with bias correction: after t steps the newest weights count (1 - d) / (1 - d^t)
        if plan.ema_decay:
            fraction = (1 - plan.ema_decay) / (1 - plan.ema_decay**self._steps)
            self._average = self._average + fraction * (weights - self._average)
            self._average_error = (1 - fraction) * self._average_error + 2 * self._machine_eps * (
                weights_norm + _norm(self._average)
            )
        return Drift(distance, rounding_bound, self._noise_norm)

    @torch.no_grad()
    def end(self) -> Drift:
        """Return how far the final weights are off, which are the moving average if the plan has one."""
        expected = self._average if self._plan.ema_decay and self._steps else self._previous_weights
        return Drift(_norm(self._weights - expected), self._average_error, self._noise_norm)

    def state(self) -> dict[str, Tensor]:
        """Return all that was recomputed so far, to be kept with the state of the training."""
        numbers = (self._steps, self._velocity_error, self._average_error)
        return {
            "previous_weights": self._previous_weights,
            "velocity": self._velocity,
            "average": self._average,
            "numbers": torch.tensor(numbers, dtype=torch.float64),
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on after what ``state`` returned, in place of what came since."""
        self._previous_weights, self._velocity, self._average = (
            state[name].to(self._previous_weights) for name in ("previous_weights", "velocity", "average")
        )
        steps, self._velocity_error, self._average_error = state["numbers"].tolist()
        self._steps = int(steps)

    @property
    def _weights(self) -> Tensor:
        """The present weights (P,), all trained parameters in one vector."""
        return torch.cat([p.detach().flatten() for p in self._parameters])


def weights_measurement(drifts: Sequence[Drift]) -> Measurement | None:
    """Return whether the weights were, after each step, those that follow from the releases.

    None where they are so up to rounding, but rounding is so large that it could hide a difference.

    Args:
        drifts: How far the weights were off after each step, and at the end.
    """
    passed = all(drift.distance <= drift.rounding_bound for drift in drifts)
    if passed and not all(drift.rounding_bound <= MAX_ROUNDING * drift.noise_norm for drift in drifts):
        return None
    largest = max(
        (drift.distance / drift.noise_norm for drift in drifts if drift.noise_norm), default=math.inf
    )
    text = "distance of the weights from those that follow from the releases, in units of one step's noise"
    return Measurement("weights", 0.0, largest, float(passed), text)


def _norm(values: Tensor) -> float:
    """Return the Euclidean norm, computed in float64."""
    return float(torch.linalg.vector_norm(values, dtype=torch.float64))
