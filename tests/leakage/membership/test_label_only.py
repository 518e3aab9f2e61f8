import pytest
import torch
from torch import nn

from quintain.core.errors import SettingError
from quintain.leakage.attack import Candidates
from quintain.leakage.knowledge import Knowledge
from quintain.leakage.membership.label_only import LabelOnly
from quintain.leakage.view import ModelView
from quintain.models.classifier import Classifier


def brightness(threshold=0.5):
    """A net of class 1 where the mean is above a threshold."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    with torch.no_grad():
        net[1].weight.copy_(torch.stack([torch.zeros(16), torch.full((16,), 1 / 16)]))
        net[1].bias.copy_(torch.tensor([threshold, 0.0]))
    return Classifier(net.eval(), num_classes=2)


def candidates_at(levels):
    x = torch.stack([torch.full((1, 4, 4), level) for level in levels])
    return Candidates(
        y=torch.ones(len(levels), dtype=torch.long), ids=torch.arange(len(levels)), shape=(1, 4, 4), x=x
    )


ATTACK = LabelOnly(queries=60)


def guess(candidates, attack=ATTACK, budget=1000, seed=0):
    view = ModelView(brightness(), access="labels")
    return attack.guess(view, Knowledge(), candidates, budget=budget, seed=seed), view


def test_the_score_grows_with_the_distance_to_the_boundary():
    # the further below the threshold, the less often noise turns the label into the right one
    found, _ = guess(candidates_at([0.2, 0.45, 0.52, 0.6, 0.9]), LabelOnly(queries=400, noise=1.0))
    assert (found.scores.diff() >= 0).all()
    assert found.scores[0] < 0.1
    assert found.scores[-1] > 0.9
    assert 0.2 < found.scores[2] < found.scores[3]


def test_queries_are_counted_and_kept_to_the_budget():
    found, view = guess(candidates_at([0.4, 0.6]), budget=7)
    assert found.queries == 7.0
    assert view.queries == 14


def test_one_query_is_the_prediction():
    found, _ = guess(candidates_at([0.4, 0.6]), budget=1)
    assert found.scores.tolist() == [0.0, 1.0]


@pytest.mark.parametrize("settings", [{"queries": 0}, {"noise": 0.0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(SettingError, match="expected at least one query, and positive noise"):
        LabelOnly(**settings)
