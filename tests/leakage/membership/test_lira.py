import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, norm

from quintain.core.errors import DataError, SettingError
from quintain.leakage.attack import Candidates
from quintain.leakage.confidence import count_copies, logit_confidence, make_copy
from quintain.leakage.judges.ranked_scores import area_under_curve, rank_scores
from quintain.leakage.knowledge import Knowledge
from quintain.leakage.membership._shadow_fits import fit_shadows
from quintain.leakage.membership.lira import LiRA
from quintain.leakage.membership.lira_offline import OfflineLiRA
from quintain.leakage.membership.loss_threshold import LossThreshold
from tests.leakage.membership.fakes import KnownShadows, known_candidates, known_target

CANDIDATES = 8000


def area(attack, shadows_a_side, seed):
    candidates = known_candidates(CANDIDATES)
    view, truth = known_target(CANDIDATES, 1.0, seed)
    knowledge = Knowledge(shadows=KnownShadows(2 * shadows_a_side, CANDIDATES, 1.0, seed + 100))
    scores = attack.guess(view, knowledge, candidates, budget=1, seed=0).scores
    return area_under_curve(rank_scores(scores.numpy(), truth))


@pytest.mark.parametrize("shadows_a_side", [4, 8])
def test_areas_of_a_known_law(shadows_a_side):
    # Confidences are N(m, 1), and N(m + 1, 1) where trained on; m is known by 2 K models online, K offline.
    for attack, means in ((LiRA(), 2 * shadows_a_side), (OfflineLiRA(), shadows_a_side)):
        found = np.mean([area(attack, shadows_a_side, seed) for seed in range(3)])
        # three areas of 8,000 candidates each have a standard error of 0.003
        assert found == pytest.approx(norm.cdf(1 / np.sqrt(2 + 2 / means)), abs=0.01)


def test_an_unusually_low_confidence_says_no_member_offline():
    candidates = known_candidates(200)
    view, truth = known_target(200, -8.0, 0)  # confidences of members fall
    knowledge = Knowledge(shadows=KnownShadows(16, 200, -8.0, 1))
    scores = OfflineLiRA().guess(view, knowledge, candidates, budget=1, seed=0).scores.numpy()
    assert area_under_curve(rank_scores(scores, truth)) == 0.0
    online = LiRA().guess(view, knowledge, candidates, budget=1, seed=0).scores.numpy()
    assert area_under_curve(rank_scores(online, truth)) == 1.0


def test_pooled_variances_are_about_each_candidates_own_mean():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((8, 300)) + 100 * rng.standard_normal(300)
    included = np.arange(8)[:, None] < 4 + np.zeros(300)
    fit = fit_shadows(values, included)  # one group
    residuals = values[:4] - values[:4].mean(0)
    assert fit.trained.variance == pytest.approx(np.full(300, (residuals**2).sum() / (300 * 3)))
    assert fit.trained.mean == pytest.approx(values[:4].mean(0))
    assert fit.untrained.mean == pytest.approx(values[4:].mean(0))


def test_the_ratio_is_that_of_two_joint_normal_laws():
    rng = np.random.default_rng(1)
    values, included = rng.standard_normal((16, 50)), np.arange(16)[:, None] < 8 + np.zeros(50)
    fit = fit_shadows(values + 2 * rng.standard_normal(50) * included, included)
    x, column = 1.3, 7
    s, d = fit.spread[column], fit.shift[column]
    v, w = fit.untrained.variance[column], fit.trained.variance[column]
    # (m_in - m_out, x - m_out), of a member and of another
    both = np.array([[s + w / 8 + v / 8, v / 8], [v / 8, v / 8]])
    other, member = both + np.array([[0, 0], [0, v]]), both + np.array([[0, s], [s, s + w]])
    at = [fit.trained.mean[column] - fit.untrained.mean[column], x - fit.untrained.mean[column]]
    exact = multivariate_normal([d, d], member).logpdf(at) - multivariate_normal([d, 0], other).logpdf(at)
    assert fit.log_ratio(np.array([x]), np.array([column])) == pytest.approx([exact])


def test_with_many_models_it_is_the_ratio_of_two_normal_laws():
    rng = np.random.default_rng(2)
    included = np.arange(4000)[:, None] < 2000 + np.zeros(5)
    fit = fit_shadows(rng.standard_normal((4000, 5)) + included * np.arange(5), included)
    x, columns = np.array([0.3, 1.0, 2.0, -1.0, 4.0]), np.arange(5)
    plain = norm.logpdf(x, np.arange(5), 1) - norm.logpdf(x, 0, 1)
    assert fit.log_ratio(x, columns) == pytest.approx(plain, abs=0.5)


def test_confidences_that_are_all_alike_give_equal_scores():
    candidates = known_candidates(10)
    view, _ = known_target(10, 0.0, 0)
    view._model.phi[:] = 3.0
    shadows = KnownShadows(4, 10, 0.0, 0)
    shadows._phi[:] = 3.0
    for attack in (LiRA(), OfflineLiRA()):
        scores = attack.guess(view, Knowledge(shadows=shadows), candidates, budget=1, seed=0).scores
        assert scores.isfinite().all()
        assert scores.unique().numel() == 1


def test_the_log_odds_keep_their_digits_where_a_model_is_sure():
    logits = torch.tensor([[40.0, 0.0], [0.0, 40.0], [1.0, 2.0]])
    found = logit_confidence(logits, torch.tensor([0, 0, 1]))
    assert found == pytest.approx([40.0, -40.0, 1.0])
    three = torch.tensor([[1.0, 2.0, 3.0]])
    p = three.double().softmax(1)[0]
    assert logit_confidence(three, torch.tensor([1])) == pytest.approx([float(torch.log(p[1] / (1 - p[1])))])
    with pytest.raises(DataError, match="NaN or infinite"):
        logit_confidence(torch.tensor([[float("nan"), 0.0]]), torch.tensor([0]))


def test_copies_are_the_example_its_mirror_image_and_both_shifted():
    x = torch.arange(9.0).reshape(1, 1, 3, 3)
    assert torch.equal(make_copy(x, 0), x)
    assert torch.equal(make_copy(x, 1), x.flip(-1))
    assert make_copy(x, 2)[0, 0].tolist() == [[0, 0, 1], [3, 3, 4], [6, 6, 7]]  # to the right; the edge stays
    copies = [make_copy(torch.rand(1, 2, 5, 5), number) for number in range(18)]
    assert all(copy.shape == (1, 2, 5, 5) for copy in copies)
    assert count_copies(18, (1, 3, 3), 2, attack="lira") == 2
    assert count_copies(18, (7,), 100, attack="lira") == 1
    with pytest.raises(SettingError, match="at least one query"):
        count_copies(1, (1, 3, 3), 0, attack="lira")


def test_the_loss_orders_candidates_by_their_confidence():
    candidates = known_candidates(50)
    view, _ = known_target(50, 1.0, 0)
    guess = LossThreshold().guess(view, Knowledge(), candidates, budget=1, seed=0)
    assert torch.equal(guess.scores, view._model.phi)
    assert view.queries == 50


def test_what_is_missing_is_named():
    candidates = known_candidates(5)
    view, _ = known_target(5, 1.0, 0)
    with pytest.raises(SettingError, match="lira needs shadows"):
        LiRA().guess(view, Knowledge(), candidates, budget=1, seed=0)
    nothing = Candidates(y=candidates.y, ids=candidates.ids, shape=(1,))
    with pytest.raises(SettingError, match="guesses about examples"):
        LossThreshold().guess(view, Knowledge(), nothing, budget=1, seed=0)


def test_fewer_than_two_models_on_a_side_are_refused():
    with pytest.raises(SettingError, match="1 shadow models with a candidate, or without it"):
        fit_shadows(np.zeros((2, 3)), np.array([[True] * 3, [False] * 3]))
