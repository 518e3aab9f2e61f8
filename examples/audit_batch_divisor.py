"""A mistake that an audit finds: a divisor that follows the batch, whose size then shows in the noise."""

import numpy as np
from audited.dp_sgd import black_box, dp_sgd, show

from quintain.dp import accounting

NOISE, STEPS, DELTA = 20.0, 100, 1e-5
CLAIM = accounting.epsilon(NOISE, 1.0, STEPS, DELTA)
"""Of gradient descent on all records at once."""


def all_records(_step: int, records: int, _rng: np.random.Generator) -> np.ndarray:
    """A full batch."""
    return np.arange(records)


def actual_size(rows: np.ndarray) -> float:
    """The mistake: the divisor follows the records, of which one more or less is to be hidden.

    Source: arXiv:2605.15648.
    """
    return float(len(rows))


def train(x: np.ndarray, y: np.ndarray, seed: int):
    """What is audited as a black box."""
    rng = np.random.default_rng(seed)
    weights, _ = dp_sgd(
        x.reshape(len(x), -1),
        y,
        rng,
        draw=all_records,
        divisor=actual_size,
        noise_multiplier=NOISE,
        steps=STEPS,
    )
    return black_box(weights)


def release(records: np.ndarray, rng: np.random.Generator) -> float:
    """What is audited as a mechanism: how large the numbers are that the steps on blank records release."""
    labels = np.zeros(len(records), dtype=int)
    _, steps = dp_sgd(
        records, labels, rng, draw=all_records, divisor=actual_size, noise_multiplier=NOISE, steps=STEPS
    )
    return float(np.square(steps).mean())


def neighbors() -> tuple[np.ndarray, np.ndarray]:
    """The two inputs of the mechanism: 51 blank records of 500 numbers, and 50."""
    return np.zeros((51, 500)), np.zeros((50, 500))


if __name__ == "__main__":
    show(train, release, neighbors(), CLAIM)
