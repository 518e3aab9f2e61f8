import numpy as np
import pytest
import torch

from quintain.core.errors import DataError
from quintain.data.dataset import from_arrays
from quintain.leakage.attack import Candidates
from quintain.leakage.judges.ranked_scores import area_under_curve, rank_scores
from quintain.leakage.knowledge import Knowledge
from quintain.leakage.membership.loss_threshold import LossThreshold
from quintain.leakage.membership.quantile_regression import QuantileRegression, fit_ridge
from quintain.leakage.view import ModelView


class Slanted:
    """Log odds that follow the first feature, with noise that follows the second; members have 1 more."""

    access, name, num_classes, hash, num_parameters = "scores", "slanted", 2, "", 0
    device, dtype = torch.device("cpu"), torch.float32

    def __call__(self, x):
        x = x.double()
        normal = torch.special.ndtri((1e4 * x[:, 2]).frac().clamp(1e-3, 1 - 1e-3))
        phi = 20 * x[:, 0] + normal * torch.exp(2 * x[:, 1]) + 2 * x[:, 3]
        return torch.stack([phi, torch.zeros(len(x), dtype=torch.float64)], 1)

    def predict(self, x):
        return self(x).argmax(1)


def examples(count, seed, members=0):
    rng = np.random.default_rng(seed)
    x = rng.random((count, 4), dtype=np.float32)
    x[:, 3] = np.arange(count) < members  # what membership adds
    return x


def test_each_example_is_compared_with_what_its_kind_is_given():
    public = from_arrays(examples(2000, 0), np.zeros(2000, dtype=int))
    x = examples(1000, 1, members=500)
    candidates = Candidates(
        y=torch.zeros(1000, dtype=torch.long), ids=torch.arange(1000), shape=(4,), x=torch.from_numpy(x)
    )
    truth = np.arange(1000) < 500
    areas = []
    for attack in (QuantileRegression(), LossThreshold()):
        guess = attack.guess(ModelView(Slanted()), Knowledge(public=public), candidates, budget=1, seed=0)
        areas.append(area_under_curve(rank_scores(guess.scores.numpy(), truth)))
    assert areas[0] > areas[1] + 0.05
    scores = (
        QuantileRegression()
        .guess(ModelView(Slanted()), Knowledge(public=public), candidates, budget=1, seed=0)
        .scores[500:]
    )
    # others are standardized, each by its own mean and spread
    assert float(scores.mean()) == pytest.approx(0.0, abs=0.15)
    assert float(scores.std()) == pytest.approx(1.0, abs=0.15)


def test_the_ridge_is_the_closed_form_and_its_residuals_are_left_out():
    rng = np.random.default_rng(0)
    rows, noise = rng.standard_normal((40, 3)), rng.standard_normal(40)
    values = rows @ np.array([1.0, -2.0, 0.5]) + 0.1 * noise
    weights, residuals = fit_ridge(rows, values)
    assert weights == pytest.approx([1.0, -2.0, 0.5], abs=0.1)
    penalty = next(
        p
        for p in np.logspace(-4, 4, 17) * 40
        if np.allclose(np.linalg.solve(rows.T @ rows + p * np.eye(3), rows.T @ values), weights)
    )
    kept = np.arange(40) != 7
    without = np.linalg.solve(rows[kept].T @ rows[kept] + penalty * np.eye(3), rows[kept].T @ values[kept])
    assert residuals[7] == pytest.approx(values[7] - rows[7] @ without)


def test_constant_confidences_and_constant_features_are_finite():
    public = from_arrays(np.zeros((30, 4), dtype=np.float32), np.zeros(30, dtype=int))
    candidates = Candidates(
        y=torch.zeros(5, dtype=torch.long), ids=torch.arange(5), shape=(4,), x=torch.zeros(5, 4)
    )
    scores = (
        QuantileRegression()
        .guess(ModelView(Slanted()), Knowledge(public=public), candidates, budget=1, seed=0)
        .scores
    )
    assert scores.isfinite().all()


def test_too_few_public_examples_are_refused():
    public = from_arrays(examples(19, 0), np.zeros(19, dtype=int))
    candidates = Candidates(
        y=torch.zeros(1, dtype=torch.long), ids=torch.arange(1), shape=(4,), x=torch.zeros(1, 4)
    )
    with pytest.raises(DataError, match="19 public examples for quantile-regression; expected at least 20"):
        QuantileRegression().guess(
            ModelView(Slanted()), Knowledge(public=public), candidates, budget=1, seed=0
        )
