"""DP-SGD of a softmax regression in NumPy, with how batches are drawn and divided left to the script."""

from collections.abc import Callable

import numpy as np

import quintain as q
from quintain.data.dataset import Dataset
from quintain.evaluate import AuditedClaim, ClaimedMechanism, audit_mechanism, audit_training
from quintain.leakage import BlackBoxTraining
from quintain.results.second_opinion import SecondOpinionResult

Draw = Callable[[int, int, np.random.Generator], np.ndarray]
"""Draws the rows of one step: ``(step, number of records, rng)``."""


def dp_sgd(
    x: np.ndarray,
    y: np.ndarray,
    rng: np.random.Generator,
    *,
    draw: Draw,
    divisor: Callable[[np.ndarray], float],
    noise_multiplier: float,
    steps: int,
    learning_rate: float = 0.5,
) -> tuple[np.ndarray, np.ndarray]:
    """Train with gradients clipped to norm 1 and Gaussian noise.

    Args:
        x: Inputs (N, d).
        y: Labels (N,), 0 or 1.
        rng: Of batches and noise.
        draw: Draws the rows of each step.
        divisor: What the noisy sum of a step's rows is divided by.
        noise_multiplier: Standard deviation of the noise.
        steps: Number of steps.
        learning_rate: Of each step; privacy must hold at any.

    Returns:
        The weights (2, d), and the noisy gradient of each step (steps, 2, d).
    """
    weights, released, one_hot = np.zeros((2, x.shape[1])), [], np.eye(2)[y]
    for step in range(steps):
        rows = draw(step, len(x), rng)
        logits = x[rows] @ weights.T
        residuals = np.exp(logits - np.logaddexp(*logits.T)[:, None]) - one_hot[rows]
        # The gradient of a record is an outer product, so its norm is the product of two norms.
        norms = np.linalg.norm(residuals, axis=1) * np.linalg.norm(x[rows], axis=1)
        clipped = residuals * np.minimum(1, 1 / np.maximum(norms, 1e-12))[:, None]
        noise = rng.normal(0, noise_multiplier, weights.shape)
        released.append((clipped.T @ x[rows] + noise) / divisor(rows))
        weights = weights - learning_rate * released[-1]
    return weights, np.array(released)


def black_box(weights: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return the model of some weights, as a function from inputs to logits."""
    return lambda z: z.reshape(len(z), -1) @ weights.T


def target_among(fillers: int) -> tuple[np.ndarray, np.ndarray]:
    """Return two neighboring inputs (n, 3), two numbers and a label: zeros with a target, and without.

    Zeros have no gradient here, so that the first number's weights hold the target and noise alone.
    """
    zeros = np.zeros((fillers, 3))
    return np.vstack([zeros, [[10.0, 0.0, 1.0]]]), zeros


def toward_target(released: np.ndarray) -> np.ndarray:
    """Return what each step released in the direction of the target's gradient (steps,)."""
    return (released[:, 1, 0] - released[:, 0, 0]) / np.sqrt(2)


def xrays() -> Dataset:
    """Return a thousand X-rays."""
    return q.load_data("xrays").train.subset(np.arange(1000))


def show(
    train: Callable[..., object],
    released: Callable[..., object],
    neighbors: tuple[np.ndarray, np.ndarray],
    claim: float,
    *,
    runs: int = 600,
) -> None:
    """Audit a script as a black box and as a mechanism, and print what each shows."""
    outcome = audit_training(
        BlackBoxTraining.of(train), xrays(), AuditedClaim(epsilon=claim, canaries=200, canary_kind="pattern")
    )
    assert isinstance(outcome.result, SecondOpinionResult)
    mechanism = ClaimedMechanism(released, *neighbors, epsilon=claim)
    for name, found in (
        ("its final model, from outside", outcome.result),
        ("what its steps release", audit_mechanism(mechanism, runs=runs)),
    ):
        print(
            f"{name}: epsilon at least {found.audit.lower.value:.2f}, claimed {claim:.2f}, "
            f"at most {found.audit.max_auditable_epsilon:.2f} can be shown: {found.bracket.consistency}"
        )
