"""What all attacks on identity are refused before the first query, and how they count queries."""

import pytest

from quintain.core.errors import SettingError
from quintain.leakage import Knowledge, ModelView
from quintain.leakage.identity.draws import InversionDraws
from quintain.leakage.identity.gradient import InversionGradient
from quintain.leakage.identity.labels import InversionLabels
from quintain.leakage.identity.scores import InversionScores
from tests.leakage.identity.people import classes, pictures, template_model

PUBLIC = Knowledge(public=pictures(range(100, 110), 3))
ATTACKS = pytest.mark.parametrize(
    "attack",
    [InversionGradient(), InversionScores(), InversionLabels(), InversionDraws()],
    ids=lambda one: one.name,
)


@ATTACKS
@pytest.mark.parametrize(
    ("knowledge", "candidates", "budget", "said"),
    [
        (PUBLIC, classes(1), 0, "budget = 0"),
        (Knowledge(), classes(1), 50, "needs public, which is not given"),
        (PUBLIC, classes(4), 50, r"seeks classes \[4\]; expected some of 0 \.\. 3"),
    ],
)
def test_it_is_refused_before_any_query(attack, knowledge, candidates, budget, said):
    view = ModelView(template_model(range(4)))
    with pytest.raises(SettingError, match=said):
        attack.guess(view, knowledge, candidates, budget=budget, seed=0)
    assert view.queries == 0


@ATTACKS
@pytest.mark.parametrize("budget", [1, 60])
def test_queries_of_each_candidate_are_those_of_the_view_and_within_the_budget(attack, budget):
    view = ModelView(template_model(range(4)), max_queries=2 * budget)
    view_before = view.queries
    guess = attack.guess(view, PUBLIC, classes(0, 3), budget=budget, seed=0)
    assert guess.images.shape == (2, *PUBLIC.public.shape)
    assert guess.queries == (view.queries - view_before) / 2 <= budget


@ATTACKS
def test_of_no_candidates_there_is_no_picture(attack):
    view = ModelView(template_model(range(4)))
    assert len(attack.guess(view, PUBLIC, classes(), budget=40, seed=0).images) == 0
