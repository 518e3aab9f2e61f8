import numpy as np
import pytest
from scipy.stats import nct

from quintain.leakage import audit_gaussian_pair
from quintain.leakage.audit.gaussian_pair import MAX_DISTANCE, mu_lower_limit


@pytest.mark.parametrize("sizes", [(3, 4), (20, 30), (100, 100)])
@pytest.mark.parametrize("distance", [0.8, 1.7, 4.0])
@pytest.mark.parametrize("confidence", [0.95, 0.999])
def test_the_limit_is_that_of_the_noncentral_t_law(sizes, distance, confidence):
    scale = 1 / np.sqrt(1 / sizes[0] + 1 / sizes[1])
    least = mu_lower_limit(distance, sizes, confidence)
    if least == 0:
        assert nct.sf(distance * scale, sum(sizes) - 2, 0) >= (1 - confidence) * 0.999
    else:
        assert nct.sf(distance * scale, sum(sizes) - 2, least * scale) == pytest.approx(
            1 - confidence, rel=1e-5
        )


def test_it_shows_more_than_guesses_of_coins_where_scores_are_normal():
    shown = []
    for run in range(20):
        rng = np.random.default_rng(run)
        coins = rng.random(200) < 0.5
        shown.append(audit_gaussian_pair(1.666 * coins + rng.standard_normal(200), coins).epsilon)
    assert 6.2 < np.mean(shown) < 8


def test_it_says_that_it_is_an_estimate():
    found = audit_gaussian_pair([0.0, 1.0, 0.1, 1.2], [False, True, False, True])
    assert "estimate" in found.bound.method
    assert any("exactly normal" in text for text in found.bound.assumptions)


@pytest.mark.parametrize(
    ("scores", "least"), [([0.0, 1.0] * 20, 150.0), ([1.0, 1.0] * 20, 0.0), ([1.0, 0.0] * 20, 0.0)]
)
def test_scores_that_do_not_vary(scores, least):
    coins = np.array([False, True] * 20)
    found = audit_gaussian_pair(scores, coins)
    assert found.epsilon >= least
    assert (found.epsilon > 0) == (least > 0)
    assert found.epsilon <= found.max_auditable_epsilon
    assert mu_lower_limit(1e9, (20, 20), 0.95) < MAX_DISTANCE
