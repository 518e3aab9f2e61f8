"""Everything public about a private run, in one frozen value that states its guarantee."""

import math
from dataclasses import dataclass

from quintain.core.errors import SettingError
from quintain.dp import accounting


@dataclass(frozen=True, slots=True)
class PrivatePlan:
    """Noisy clipped gradient descent on Poisson batches; all of these settings are public.

    Args:
        noise_multiplier: sigma, in units of ``max_grad_norm``.
        max_grad_norm: C, bound of one example's gradient.
        expected_batch_size: b: the mean size of a batch, and what the sum is divided by.
        steps: T.
        rate: Learning rate.
        momentum: Of the plain gradient descent.
        delta: At which epsilon is stated.
        ema: Decay of the moving average of weights that is kept in the end; 0 keeps the last ones.
        copies: K: altered copies of each record in a batch, whose mean gradient is clipped; no privacy is spent on them.
        shift: Pixels by which pictures are moved at random, at most.

    Guarantee: ``epsilon(n)`` for adding or removing one of n records, all iterates released.

    Raises:
        SettingError: If a setting is out of its range.
    """

    noise_multiplier: float
    max_grad_norm: float
    expected_batch_size: int
    steps: int
    rate: float
    momentum: float = 0.0
    delta: float = 1e-5
    ema: float = 0.0
    copies: int = 1
    shift: int = 0

    def __post_init__(self) -> None:
        ranges = {
            "noise_multiplier": (0 <= self.noise_multiplier < math.inf, "a finite number, 0 or more"),
            "max_grad_norm": (self.max_grad_norm > 0, "a positive number"),
            "expected_batch_size": (self.expected_batch_size >= 1, "at least 1"),
            "steps": (self.steps >= 0, "0 or more"),
            "rate": (0 < self.rate < math.inf, "a positive number"),
            "momentum": (0 <= self.momentum < 1, "a number in [0, 1)"),
            "delta": (0 < self.delta < 1, "a number strictly between 0 and 1, such as 1e-5"),
            "ema": (0 <= self.ema < 1, "a number in [0, 1), such as 0.99"),
            "copies": (self.copies >= 1, "at least 1"),
            "shift": (self.shift >= 0, "0 or more"),
        }
        for name, (good, expected) in ranges.items():
            if not good:
                raise SettingError(f"got {name} = {getattr(self, name)}; expected {expected}")
        if math.isinf(self.max_grad_norm) and self.noise_multiplier:
            raise SettingError("got max_grad_norm = inf with noise; expected a finite bound: noise is scaled to it")

    @classmethod
    def at(
        cls,
        *,
        epsilon: float,
        n: int,
        delta: float = 1e-5,
        max_grad_norm: float = 1.0,
        expected_batch_size: int = 512,
        steps: int = 276,
        rate: float = 1.0,
        momentum: float = 0.5,
    ) -> "PrivatePlan":
        """The plan with the least noise that costs at most ``epsilon`` at ``delta`` on ``n`` records."""
        batch = min(expected_batch_size, n)
        sigma = accounting.calibrate_noise_multiplier(epsilon, delta, batch / n, steps)
        return cls(sigma, max_grad_norm, batch, steps, rate, momentum, delta)

    def sample_rate(self, n: int) -> float:
        """Probability that one of ``n`` records is in a batch."""
        if n < self.expected_batch_size:
            raise SettingError(f"got {n} records for an expected batch of {self.expected_batch_size}; expected at least as many records")
        return self.expected_batch_size / n

    def epsilon(self, n: int) -> float:
        """What the plan costs on ``n`` records, at its delta."""
        return accounting.epsilon(self.noise_multiplier, self.sample_rate(n), self.steps, self.delta)
