import numpy as np
import pytest
import torch
from scipy.stats import kstest

from quintain.core.errors import SettingError
from quintain.data.dataset import from_arrays
from quintain.leakage.judges.ranked_scores import area_under_curve, rank_scores
from quintain.leakage.knowledge import Knowledge
from quintain.leakage.membership.rmia import RMIA, log_mean_probability
from tests.leakage.membership.fakes import KnownShadows, known_candidates, known_target


class OnPublic:
    """Answers of one model, on candidates as given, on public examples (features of at least 2) by a draw."""

    def __init__(self, model, phi):
        self.model, self.phi = model, torch.as_tensor(phi)

    def __call__(self, x):
        if x.shape[1] == 1:
            return self.model(x)
        rows = (x[:, 0].double() * len(self.phi)).round().long()
        return torch.stack([self.phi[rows], torch.zeros(len(rows), dtype=torch.float64)], 1)


def setting(candidates, public, shift, seed):
    rng = np.random.default_rng(seed)
    x = np.stack([np.arange(public) / public, np.zeros(public)], 1).astype(np.float32)
    view, truth = known_target(candidates, shift, seed)
    shadows = KnownShadows(16, candidates, shift, seed + 1)
    target, knowledge = (
        OnPublic(view._model, rng.standard_normal(public)),
        Knowledge(public=from_arrays(x, np.zeros(public, dtype=int)), shadows=shadows),
    )
    target.access, target.name, target.num_classes = "scores", "known", 2
    target.device, target.dtype = torch.device("cpu"), torch.float32
    view._model = target
    shadows.models = [OnPublic(model, rng.standard_normal(public)) for model in shadows.models]
    return view, knowledge, truth


def test_scores_are_uniform_where_nothing_is_learned():
    view, knowledge, _ = setting(2000, 2000, 0.0, 0)
    scores = RMIA().guess(view, knowledge, known_candidates(2000), budget=1, seed=0).scores.numpy()
    assert kstest(scores, "uniform").pvalue > 1e-3
    assert view.queries == 4000


def test_members_are_told_where_confidences_rise():
    view, knowledge, truth = setting(4000, 500, 1.0, 1)
    guess = RMIA().guess(view, knowledge, known_candidates(4000), budget=1, seed=0)
    assert guess.queries == pytest.approx(4500 / 4000)
    # the best test of N(0, 1) against N(1, 1) has an area of 0.760
    assert 0.70 < area_under_curve(rank_scores(guess.scores.numpy(), truth)) < 0.77


def test_a_larger_gamma_lowers_scores_and_keeps_their_order():
    view, knowledge, _ = setting(300, 300, 1.0, 2)
    one, two = (
        RMIA(gamma=gamma).guess(view, knowledge, known_candidates(300), budget=1, seed=0).scores
        for gamma in (1.0, 1.5)
    )
    assert (two <= one).all()
    assert torch.equal(one.argsort(), two.argsort())


def test_the_mean_is_of_probabilities():
    phi = np.array([[0.0, 50.0], [2.0, -50.0]])
    exact = np.log((1 / (1 + np.exp(-phi))).mean(0))
    assert log_mean_probability(phi) == pytest.approx(exact)


def test_a_gamma_that_is_not_positive_is_refused():
    with pytest.raises(SettingError, match="expected a positive number"):
        RMIA(gamma=0.0)
