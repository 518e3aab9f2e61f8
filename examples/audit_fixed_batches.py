"""A mistake that an audit finds: batches that come in the same order each epoch, accounted as Poisson's."""

import numpy as np
from audited.dp_sgd import black_box, dp_sgd, show, target_among, toward_target

from quintain.dp import accounting

RATE, NOISE, STEPS, DELTA = 0.01, 1.0, 400, 1e-5
CLAIM = accounting.epsilon(NOISE, RATE, STEPS, DELTA)
BATCHES = round(1 / RATE)


def next_batch(step: int, records: int, _rng: np.random.Generator) -> np.ndarray:
    """The mistake: each record is in one step of each epoch, for sure, and always in the same one."""
    return np.arange(step % BATCHES, records, BATCHES)


def train(x: np.ndarray, y: np.ndarray, seed: int):
    """What is audited as a black box."""
    rng = np.random.default_rng(seed)
    flat, size = x.reshape(len(x), -1), RATE * len(x)
    weights, _ = dp_sgd(
        flat, y, rng, draw=next_batch, divisor=lambda _: size, noise_multiplier=NOISE, steps=STEPS
    )
    return black_box(weights)


def release(records: np.ndarray, rng: np.random.Generator) -> float:
    """What is audited as a mechanism: the steps that the last record is in, if there is one."""
    x, y = records[:, :2], records[:, 2].astype(int)
    _, steps = dp_sgd(
        x,
        y,
        rng,
        draw=next_batch,
        divisor=lambda _: RATE * 100,
        noise_multiplier=NOISE,
        steps=STEPS,
        learning_rate=1e-4,
    )
    return float(toward_target(steps)[BATCHES - 1 :: BATCHES].sum())


def neighbors() -> tuple[np.ndarray, np.ndarray]:
    """The two inputs of the mechanism."""
    return target_among(99)


if __name__ == "__main__":
    show(train, release, neighbors(), CLAIM, runs=1000)
