import numpy as np
import pytest
import torch
from scipy.stats import norm

from quintain.core.errors import DataError, SettingError
from quintain.leakage.attack import Candidates
from quintain.leakage.confidence import count_copies, logit_confidence, make_copy
from quintain.leakage.judges.membership import area_under_curve, rank_scores
from quintain.leakage.knowledge import Knowledge
from quintain.leakage.membership._shadow_fits import fit_normal
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


@pytest.mark.parametrize(
    ("attack", "shadows_a_side", "expected"),
    [
        (LiRA(), 4, 0.709),
        (LiRA(), 8, 0.741),
        (OfflineLiRA(), 4, 0.734),
        (OfflineLiRA(), 8, 0.750),
    ],
)
def test_figures_of_a_known_law(attack, shadows_a_side, expected):
    # confidences are N(0, 1), N(1, 1) where trained on; the best test has an area of Phi(1 / sqrt 2) = 0.760
    assert norm.cdf(1 / np.sqrt(2)) == pytest.approx(0.760, abs=0.001)
    found = np.mean([area(attack, shadows_a_side, seed) for seed in range(3)])
    # three areas of 8,000 candidates each have a standard error of 0.003
    assert found == pytest.approx(expected, abs=0.01)


def test_an_unusually_low_confidence_says_no_member_offline():
    candidates = known_candidates(200)
    view, truth = known_target(200, -8.0, 0)  # confidences of members fall
    knowledge = Knowledge(shadows=KnownShadows(16, 200, -8.0, 1))
    scores = OfflineLiRA().guess(view, knowledge, candidates, budget=1, seed=0).scores.numpy()
    assert area_under_curve(rank_scores(scores, truth)) == 0.0
    online = LiRA().guess(view, knowledge, candidates, budget=1, seed=0).scores.numpy()
    assert area_under_curve(rank_scores(online, truth)) == 1.0


def test_pooled_deviations_are_about_each_candidates_own_mean():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((8, 500)) + 100 * rng.standard_normal(500)
    chosen = np.arange(8)[:, None] < 4 + np.zeros(500)
    fit = fit_normal(values, chosen)
    residuals = values[:4] - values[:4].mean(0)
    assert fit.deviation == pytest.approx(np.full(500, np.sqrt((residuals**2).sum() / (500 * 3))))
    assert fit.mean == pytest.approx(values[:4].mean(0))


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
