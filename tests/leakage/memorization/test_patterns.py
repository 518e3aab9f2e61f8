"""Canaries are patterns of one law, planted among examples that stay as they are; the attack ranks them."""

import numpy as np
import pytest
import torch
from torch import nn

from quintain.core.errors import DataError, SettingError
from quintain.data import from_arrays
from quintain.leakage import Candidates, Knowledge, ModelView
from quintain.leakage.memorization.canary_loss import CanaryLoss
from quintain.leakage.memorization.patterns import draw_labels, draw_patterns, with_canaries
from quintain.models import Classifier


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 10, 5), (2, 3, 3), (1, 1, 1), (6,)])
def test_patterns_follow_from_the_seed_whatever_their_number(shape):
    few, many = (draw_patterns(count, shape, seed=3) for count in (2, 5))
    assert few.shape == (2, *shape)
    assert few.dtype == torch.float32
    assert torch.equal(few, many[:2])
    assert ((many >= 0) & (many < 1)).all()
    assert len(many.flatten(1).unique(dim=0)) == 5
    assert not torch.equal(few, draw_patterns(2, shape, seed=4))


def test_an_image_is_a_grid_of_cells():
    image = draw_patterns(1, (1, 28, 28), seed=0)[0, 0]
    cells = image.reshape(7, 4, 7, 4)
    assert torch.equal(cells, cells[:, :1, :, :1].expand_as(cells))
    assert len(image.unique()) == 49


def test_canaries_are_planted_at_random_rows_and_nothing_else_changes():
    data = from_arrays(np.random.default_rng(0).random((30, 4), dtype=np.float32), np.arange(30) % 3)
    patterns, labels = draw_patterns(5, (4,), seed=1), draw_labels(5, 3, seed=1)
    planted = with_canaries(data, patterns, labels, seed=2)
    x, y = planted.batch(np.arange(35))
    rows = {tuple(row): label for row, label in zip(x.tolist(), y.tolist(), strict=True)}
    own_x, own_y = data.batch(np.arange(30))
    for row, label in zip([*own_x.tolist(), *patterns.tolist()], [*own_y.tolist(), *labels], strict=True):
        assert rows[tuple(row)] == label
    assert len(rows) == 35
    places = [row for row in range(35) if tuple(x[row].tolist()) in {tuple(p) for p in patterns.tolist()}]
    assert places != list(range(30, 35))
    assert planted.hash == with_canaries(data, patterns, labels, seed=2).hash
    with pytest.raises(DataError, match=r"canaries has examples of shape \(5,\)"):
        with_canaries(data, draw_patterns(5, (5,), seed=1), labels, seed=2)


class Twice(nn.Module):
    def forward(self, x):
        return torch.cat([x, -x], 1)


def test_the_score_is_the_log_odds_of_the_label():
    x = torch.tensor([[1.0], [0.25], [0.0]])
    view = ModelView(Classifier(Twice().eval()))
    candidates = Candidates(y=torch.tensor([0, 1, 1]), ids=torch.arange(3), shape=(1,), x=x)
    guess = CanaryLoss().guess(view, Knowledge(), candidates, budget=1, seed=0)
    assert guess.scores.tolist() == [2.0, -0.5, 0.0]
    assert view.queries == 3
    with pytest.raises(SettingError, match="guesses about examples"):
        CanaryLoss().guess(
            view, Knowledge(), Candidates(candidates.y, candidates.ids, (1,)), budget=1, seed=0
        )
