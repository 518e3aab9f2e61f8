"""A mistake that an audit finds: a sampler that draws rare classes more often, accounted at the mean rate."""

import numpy as np
from audited.dp_sgd import black_box, dp_sgd, show, target_among, toward_target

from quintain.dp import accounting

RATE, NOISE, STEPS, DELTA = 0.05, 1.5, 100, 1e-5
CLAIM = accounting.epsilon(NOISE, RATE, STEPS, DELTA)


def draw_balanced(y: np.ndarray):
    """The mistake: each class has half of a batch, so that a record of a rare one is in nearly all."""
    weights = 1 / np.maximum(np.bincount(y, minlength=2), 1)[y]

    def draw(_step: int, records: int, rng: np.random.Generator) -> np.ndarray:
        return rng.choice(records, round(RATE * records), p=weights / weights.sum())

    return draw


def train(x: np.ndarray, y: np.ndarray, seed: int):
    """What is audited as a black box."""
    rng = np.random.default_rng(seed)
    flat, size = x.reshape(len(x), -1), RATE * len(x)
    weights, _ = dp_sgd(
        flat, y, rng, draw=draw_balanced(y), divisor=lambda _: size, noise_multiplier=NOISE, steps=STEPS
    )
    return black_box(weights)


def release(records: np.ndarray, rng: np.random.Generator) -> float:
    """What is audited as a mechanism: the steps on a few records, the target alone of its class."""
    x, y = records[:, :2], records[:, 2].astype(int)
    _, steps = dp_sgd(
        x,
        y,
        rng,
        draw=draw_balanced(y),
        divisor=lambda _: RATE * 100,
        noise_multiplier=NOISE,
        steps=STEPS,
        learning_rate=1e-4,
    )
    return float(toward_target(steps).sum())


def neighbors() -> tuple[np.ndarray, np.ndarray]:
    """The two inputs of the mechanism."""
    return target_among(99)


if __name__ == "__main__":
    show(train, release, neighbors(), CLAIM)
