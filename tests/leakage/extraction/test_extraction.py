"""Copies of models: a linear one is solved from d + 1 answers, and attackers learn it from a few more."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from quintain.core.errors import SettingError
from quintain.data import from_arrays
from quintain.leakage.answers import query_public, to_logits
from quintain.leakage.attack import Candidates
from quintain.leakage.extraction.active import ActiveExtraction, choose_queries
from quintain.leakage.extraction.knockoff import Knockoff
from quintain.leakage.extraction.student import Student
from quintain.leakage.knowledge import Knowledge
from quintain.leakage.view import ModelView
from quintain.models import BlackBox, Classifier
from quintain.models.nets import initialize

FEATURES = 6
QUICK = Student(min_steps=300, min_epochs=2, learning_rate=1e-1)
ATTACKS = (Knockoff(student=QUICK), ActiveExtraction(student=QUICK))
MODEL = Candidates(
    y=torch.zeros(1, dtype=torch.long), ids=torch.zeros(1, dtype=torch.long), shape=(FEATURES,)
)


def victim(classes=3):
    net = nn.Linear(FEATURES, classes)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        net.weight.copy_(3 * torch.randn(net.weight.shape, generator=generator))
        # balanced around the middle of the box
        net.bias.copy_(-net.weight.sum(1) / 2)
    return Classifier(net.eval(), num_classes=classes)


def points(count, seed=0):
    return torch.rand(count, FEATURES, generator=torch.Generator().manual_seed(seed))


def public(count=400):
    x = points(count).numpy()
    return from_arrays(x, np.arange(count) % 3, num_classes=3)


def linear(seed):
    return initialize(nn.Sequential(nn.Linear(FEATURES, 3)), seed)


def agreement(copy, model, count=2000):
    x = points(count, seed=9)
    return float((copy.predict(x) == model.predict(x)).float().mean())


def test_a_linear_model_is_solved_from_one_score_query_more_than_it_has_features():
    # Tramer et al. 2016: log-odds against class 0 are linear in x, so d + 1 answers are d + 1 equations.
    model = victim()
    view = ModelView(model, access="scores", max_queries=FEATURES + 1)
    x = torch.cat([torch.zeros(1, FEATURES), torch.eye(FEATURES)])
    logs = to_logits(view.scores(x)).double().log_softmax(1)
    odds = logs[:, 1:] - logs[:, :1]
    bias, weight = odds[0], odds[1:] - odds[0]
    z = points(2000, seed=9)
    solved = torch.cat([torch.zeros(len(z), 1).double(), z.double() @ weight + bias], 1)
    assert view.queries == FEATURES + 1
    assert torch.equal(solved.argmax(1), model.predict(z))


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_a_copy_of_the_right_architecture_agrees_nearly_everywhere(attack):
    model, knowledge = victim(), Knowledge(public=public(), architecture=linear)
    view = ModelView(model, max_queries=200)
    guess = attack.guess(view, knowledge, MODEL, budget=200, seed=1)
    assert guess.queries == view.queries == 200
    assert agreement(guess.model, model) > 0.9


def test_labels_alone_are_enough_for_a_copy_though_a_worse_one():
    model, knowledge = victim(), Knowledge(public=public(), architecture=linear)
    view = ModelView(model, access="labels", max_queries=300)
    copy = ATTACKS[0].guess(view, knowledge, MODEL, budget=300, seed=1).model
    assert agreement(copy, model) > 0.85


def test_a_larger_budget_asks_about_the_same_examples_first():
    asked = []

    def predict(x):
        asked.append(x)
        return np.eye(3, dtype=np.float32)[np.argmax(x[:, :3], axis=1)]

    box = BlackBox(predict, num_classes=3)
    quick = Knockoff(student=Student(min_steps=1, min_epochs=1))
    seen = []
    for budget in (20, 50):
        asked.clear()
        quick.guess(ModelView(box), Knowledge(public=public()), MODEL, budget=budget, seed=2)
        seen.append(np.concatenate(asked))
    assert len(seen[0]) == 20
    assert len(seen[1]) == 50
    assert np.array_equal(seen[1][:20], seen[0])


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_no_example_is_paid_for_twice_and_public_data_may_be_fewer_than_the_budget(attack):
    view = ModelView(victim(), max_queries=40)
    attack = replace(attack, student=Student(min_steps=1, min_epochs=1))
    guess = attack.guess(view, Knowledge(public=public(40)), MODEL, budget=10_000, seed=0)
    assert view.queries == guess.queries == 40


def test_uncertain_examples_are_asked_about_and_spread():
    # the lead of class 0 is |x - 1/2|: the least sure are in the middle
    net = nn.Linear(1, 2, bias=True)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[4.0], [-4.0]]))
        net.bias.copy_(torch.tensor([-2.0, 2.0]))
    x = np.linspace(0, 1, 101, dtype=np.float32)[:, None]
    data = from_arrays(x, np.arange(101) % 2)
    chosen = choose_queries(Classifier(net.eval()), data, [50], 4, order=np.arange(101))
    assert len(set(chosen)) == 4
    assert 50 not in chosen
    values = x[chosen, 0]
    # 16 nearest to the middle are 42 ... 58; both ends of them are taken first
    assert ((values >= 0.415) & (values <= 0.585)).all()
    assert values.max() - values.min() > 0.14


def test_probabilities_are_taken_as_they_are_and_logits_are_not():
    rows = torch.tensor([[0.2, 0.8], [0.5, 0.5]])
    assert torch.allclose(to_logits(rows).softmax(1), rows)
    assert torch.allclose(to_logits(rows.log() + 3).softmax(1), rows)
    assert torch.equal(to_logits(torch.tensor([[0.0, 2.0]])), torch.tensor([[0.0, 2.0]]))
    assert to_logits(torch.tensor([[0.0, 1.0]])).isfinite().all()


def test_answers_of_labels_are_rows_of_zero_and_one():
    view = ModelView(victim(), access="labels")
    answers = query_public(view, public(), [3, 1, 2])
    assert answers.shape == (3, 3)
    assert answers.sum(1).tolist() == [1, 1, 1]
    assert view.queries == 3


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_without_public_data_it_is_refused(attack):
    with pytest.raises(SettingError, match="needs public"):
        attack.guess(ModelView(victim()), Knowledge(), MODEL, budget=10, seed=0)


def test_active_extraction_is_refused_a_view_of_labels():
    view = ModelView(victim(), access="labels")
    with pytest.raises(SettingError, match="expected an attack on those"):
        view.scores(points(1))
