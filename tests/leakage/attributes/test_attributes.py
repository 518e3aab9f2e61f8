"""Hidden attributes are put, hidden and read back; attacks on them weigh answers as a shadow shows."""

import numpy as np
import pytest
import torch
from torch import nn

from quintain.core.errors import DataError, SettingError
from quintain.data import from_arrays
from quintain.leakage import Candidates, Knowledge, ModelView
from quintain.leakage.attributes.imputer import most_frequent, train_imputer
from quintain.leakage.attributes.posterior import AttributePosterior
from quintain.leakage.attributes.shadow import AttributeShadow, fit_weights
from quintain.leakage.hidden_attribute import (
    HiddenAttribute,
    block_attribute,
    feature_attribute,
    patch_attribute,
)
from quintain.models import Classifier

SMOKER = HiddenAttribute("smoker", (1,), ((0.0,), (1.0,)))


def people(count, seed=0, agree=0.9):
    """Vectors (age, smoker, weight): smokers are mostly older."""
    rng = np.random.default_rng(seed)
    x = rng.random((count, 3), dtype=np.float32)
    x[:, 1] = np.where(rng.random(count) < agree, x[:, 0] > 0.5, x[:, 0] <= 0.5)
    return from_arrays(x, (x[:, 2] > 0.5).astype(int), num_classes=2)


def test_a_value_is_put_hidden_and_read_back():
    x = torch.rand(4, 3)
    for number in (0, 1):
        put = SMOKER.put(x, number)
        assert SMOKER.read(put).tolist() == [number] * 4
        assert torch.equal(put[:, [0, 2]], x[:, [0, 2]])
    hidden = SMOKER.hide(x)
    assert torch.equal(hidden[:, 1], torch.full((4,), 0.5))
    assert torch.equal(SMOKER.hide(SMOKER.put(x, 0)), SMOKER.hide(SMOKER.put(x, 1)))
    with pytest.raises(DataError, match="4 examples have no value of smoker"):
        SMOKER.read(hidden)


def test_a_patch_of_an_image_is_an_attribute():
    patterns = torch.stack([torch.zeros(1, 2, 2), torch.eye(2)[None]])
    mark = patch_attribute((1, 4, 4), 2, 1, patterns, name="mark")
    x = torch.rand(3, 1, 4, 4)
    put = mark.put(x, 1)
    assert torch.equal(put[:, 0, 2:, 1:3], torch.eye(2).expand(3, 2, 2))
    assert torch.equal(put[:, :, :2], x[:, :, :2])
    assert mark.read(put).tolist() == [1, 1, 1]
    with pytest.raises(SettingError, match="expected a patch inside them"):
        patch_attribute((1, 4, 4), 3, 1, patterns)


def test_a_block_of_pixels_has_the_patterns_that_it_has_in_the_data():
    x = torch.rand(12, 1, 4, 4)
    x[:, 0, 2:, 1:3] = 0
    x[::2, 0, 2:, 1:3] = torch.eye(2)
    mark = block_attribute(from_arrays(x[:, 0].numpy(), [0, 1] * 6), (2, 4), (1, 3), name="mark")
    patterns = torch.stack([torch.zeros(1, 2, 2), torch.eye(2)[None]])
    assert mark == patch_attribute((1, 4, 4), 2, 1, patterns, name="mark")
    with pytest.raises(DataError, match=r"pixels 0:2,0:2 of arrays has 12 values; expected 2 to 10"):
        block_attribute(from_arrays(x[:, 0].numpy(), [0, 1] * 6), (0, 2), (0, 2))
    with pytest.raises(DataError, match="expected a block inside of images"):
        block_attribute(from_arrays(x[:, 0].numpy(), [0, 1] * 6), (3, 5), (0, 2))
    with pytest.raises(DataError, match="expected a block inside of images"):
        block_attribute(people(4), (0, 1), (0, 1))


def test_a_feature_has_the_values_that_it_has_in_the_data():
    data = people(50)
    assert feature_attribute(data, 1, name="smoker") == SMOKER
    with pytest.raises(DataError, match="feature 0 of arrays has 50 values; expected 2 to 10"):
        feature_attribute(data, 0)
    with pytest.raises(DataError, match="expected one of vectors"):
        feature_attribute(data, 3)


@pytest.mark.parametrize(
    ("positions", "values", "message"),
    [
        ((1,), ((0.0,),), "at least two, all different"),
        ((1,), ((0.0,), (0.0,)), "at least two, all different"),
        ((1, 2), ((0.0,), (1.0,)), "2 positions; expected as many numbers"),
        ((1,), ((0.0,), (2.0,)), r"expected numbers in \[0, 1\]"),
    ],
)
def test_an_attribute_without_values_is_refused(positions, values, message):
    with pytest.raises(SettingError, match=message):
        HiddenAttribute("smoker", positions, values)
    with pytest.raises(DataError, match="expected 0 to 2"):
        HiddenAttribute("smoker", (5,), ((0.0,), (1.0,))).read(torch.zeros(1, 3))


def test_an_imputer_finds_what_the_rest_tells_and_reads_no_value():
    imputer = train_imputer(people(400), SMOKER, use_label=True, seed=0)
    x, y = people(400, seed=1).batch(np.arange(400))
    logs = imputer.log_probabilities(x, y)
    assert torch.equal(logs, imputer.log_probabilities(SMOKER.hide(x), y))
    accuracy = float((logs.argmax(1) == SMOKER.read(x)).float().mean())
    assert 0.84 < accuracy < 0.96  # 0.9 is the most that the rest tells
    assert most_frequent(people(400), SMOKER) in (0, 1)
    with pytest.raises(DataError, match="expected at least 20"):
        train_imputer(people(10), SMOKER, use_label=True, seed=0)


class Remembers(nn.Module):
    """A model of which the label 1 is likely exactly where feature 1 is 1."""

    def forward(self, x):
        return torch.stack([5 - 10 * x[:, 1], 10 * x[:, 1] - 5], 1)


def test_the_posterior_joins_the_model_and_the_prior():
    data = people(300, agree=0.5)  # the rest tells nothing
    values = SMOKER.read_all(data)
    x, _ = data.batch(np.arange(300))
    candidates = Candidates(y=values, ids=torch.arange(300), shape=(3,), x=SMOKER.hide(x))
    view = ModelView(Classifier(Remembers().eval()), max_queries=600)
    knowledge = Knowledge(public=people(100, seed=4, agree=0.5), attribute=SMOKER)
    guess = AttributePosterior().guess(view, knowledge, candidates, budget=2, seed=0)
    assert torch.equal(guess.labels, values)
    assert (guess.scores > 0.9).all()
    assert view.queries == 600
    assert guess.queries == 2


def test_weights_are_those_of_a_conditional_logit():
    rng = np.random.default_rng(0)
    prior, phi = rng.standard_normal((2, 4000, 3))
    logits = 0.5 * prior + 2 * phi + rng.gumbel(size=(4000, 3))
    weights = fit_weights(prior, phi, logits.argmax(1))
    assert weights == pytest.approx([0.5, 2], abs=0.15)
    # answers without any information get no weight
    weights = fit_weights(prior, phi, (prior + rng.gumbel(size=(4000, 3))).argmax(1))
    assert weights == pytest.approx([1, 0], abs=0.1)


@pytest.mark.parametrize("attack", [AttributePosterior(), AttributeShadow()], ids=lambda attack: attack.name)
def test_what_an_attack_cannot_do_is_refused(attack):
    data = people(60)
    x, y = data.batch(np.arange(5))
    candidates = Candidates(y=y, ids=torch.arange(5), shape=(3,), x=x)
    view, knowledge = ModelView(Classifier(Remembers().eval())), Knowledge(public=data, attribute=SMOKER)
    with pytest.raises(SettingError, match="needs 2, one for each value of smoker"):
        attack.guess(view, knowledge, candidates, budget=1, seed=0)
    with pytest.raises(SettingError, match="needs attribute"):
        attack.guess(view, Knowledge(public=data), candidates, budget=2, seed=0)
    with pytest.raises(SettingError, match="needs public"):
        attack.guess(view, Knowledge(attribute=SMOKER), candidates, budget=2, seed=0)
    without = Candidates(y=y, ids=torch.arange(5), shape=(3,))
    with pytest.raises(SettingError, match="guesses about examples"):
        attack.guess(view, knowledge, without, budget=2, seed=0)
