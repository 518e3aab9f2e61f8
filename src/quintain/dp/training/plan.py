"""The plan of a private run: all its public settings in one frozen value, with its guarantee."""

import math
from dataclasses import dataclass

from quintain.core.errors import SettingError
from quintain.core.limits import require_at_least
from quintain.dp import accounting


@dataclass(frozen=True, slots=True)
class PrivatePlan:
    """The plan of DP-SGD on Poisson batches; all of these settings are public.

    Args:
        noise_multiplier: sigma, the standard deviation of the noise in units of ``max_grad_norm``.
        max_grad_norm: C, the bound on the norm of one example's gradient.
        expected_batch_size: b, the mean size of a batch, by which the sum is divided.
        steps: T, the number of steps.
        learning_rate: Of the gradient descent.
        momentum: Of the gradient descent.
        delta: At which epsilon is stated.
        ema_decay: Decay of the moving average of weights that is returned; 0 returns the last weights.
        augmentations_per_record: K, altered copies of each record in a batch, whose mean gradient is clipped;
            they cost no privacy.
        max_shift_pixels: The largest random shift of images.

    Guarantee: ``epsilon(num_records)`` for adding or removing one record, all iterates released.

    Raises:
        SettingError: If a setting is out of its range.
    """

    noise_multiplier: float
    max_grad_norm: float
    expected_batch_size: int
    steps: int
    learning_rate: float
    momentum: float = 0.0
    delta: float = 1e-5
    ema_decay: float = 0.0
    augmentations_per_record: int = 1
    max_shift_pixels: int = 0

    def __post_init__(self) -> None:
        ranges = {
            "noise_multiplier": (0 <= self.noise_multiplier < math.inf, "a finite number, 0 or more"),
            "max_grad_norm": (self.max_grad_norm > 0, "a positive number"),
            "expected_batch_size": (self.expected_batch_size >= 1, "at least 1"),
            "steps": (self.steps >= 0, "0 or more"),
            "learning_rate": (0 < self.learning_rate < math.inf, "a positive number"),
            "momentum": (0 <= self.momentum < 1, "a number in [0, 1)"),
            "delta": (0 < self.delta < 1, "a number strictly between 0 and 1, such as 1e-5"),
            "ema_decay": (0 <= self.ema_decay < 1, "a number in [0, 1), such as 0.99"),
            "augmentations_per_record": (self.augmentations_per_record >= 1, "at least 1"),
            "max_shift_pixels": (self.max_shift_pixels >= 0, "0 or more"),
        }
        for name, (good, expected) in ranges.items():
            if not good:
                raise SettingError(f"got {name} = {getattr(self, name)}; expected {expected}")
        if math.isinf(self.max_grad_norm) and self.noise_multiplier:
            raise SettingError(
                "got max_grad_norm = inf with noise; expected a finite bound: noise is scaled to it"
            )

    @classmethod
    def for_epsilon(
        cls,
        *,
        epsilon: float,
        num_records: int,
        delta: float = 1e-5,
        max_grad_norm: float = 1.0,
        expected_batch_size: int = 512,
        steps: int = 276,
        learning_rate: float = 1.0,
        momentum: float = 0.5,
    ) -> "PrivatePlan":
        """Return the plan of least noise that costs at most ``epsilon`` at ``delta`` on so many records.

        A batch is expected to hold at most all of them.

        Raises:
            SettingError: If a number is out of its range, or no noise meets the target.
        """
        require_at_least(1, num_records=num_records, expected_batch_size=expected_batch_size)
        batch = min(expected_batch_size, num_records)
        sigma = accounting.calibrate_noise_multiplier(epsilon, delta, batch / num_records, steps)
        return cls(
            noise_multiplier=sigma,
            max_grad_norm=max_grad_norm,
            expected_batch_size=batch,
            steps=steps,
            learning_rate=learning_rate,
            momentum=momentum,
            delta=delta,
        )

    def sample_rate(self, num_records: int) -> float:
        """Probability that one of ``num_records`` records is in a batch."""
        if num_records < self.expected_batch_size:
            raise SettingError(
                f"got {num_records} records for an expected batch of {self.expected_batch_size}; expected at "
                "least as many records"
            )
        return self.expected_batch_size / num_records

    def epsilon(self, num_records: int) -> float:
        """What the plan costs on ``num_records`` records, at its delta."""
        return accounting.epsilon(
            self.noise_multiplier, self.sample_rate(num_records), self.steps, self.delta
        )
