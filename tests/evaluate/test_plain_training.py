"""The plain training beside a private one ends when longer training does not help, or says otherwise."""

import pytest
import torch

from quintain.data import from_arrays
from quintain.evaluate import plain_training
from quintain.evaluate.plain_training import DOUBLINGS, FIRST_EPOCHS, MIN_STEPS, train_until_converged
from quintain.results.class_counts import ClassCounts


@pytest.fixture(scope="module")
def data():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(200, 4, generator=generator)
    return from_arrays(x.numpy(), (x.sum(1) > 2).long().numpy())


def net():
    made = torch.nn.Linear(4, 2)
    with torch.no_grad():
        made.weight.zero_()
        made.bias.zero_()
    return made


@pytest.fixture
def scripted(monkeypatch):
    """Trainings whose held-out accuracy is given by their epochs."""

    def script(accuracy):
        trained = []

        def fit(net, data, recipe, **_):
            trained.append((len(data), recipe.epochs))
            net.epochs = recipe.epochs

        def counts(model, data):
            right = round(accuracy[model.net.epochs] * len(data))
            return ClassCounts((right, 0), (len(data), 0))

        monkeypatch.setattr(plain_training, "fit", fit)
        monkeypatch.setattr(plain_training, "MIN_STEPS", 1)
        monkeypatch.setattr(plain_training, "clean_counts", counts)
        return trained

    return script


def test_it_stops_when_twice_as_many_epochs_are_no_better(scripted, data):
    trained = scripted({8: 0.5, 16: 0.9, 32: 0.91})
    found = train_until_converged(net(), data, data, validation=data)
    assert [epochs for _, epochs in trained] == [8, 16, 32]
    assert (found.epochs, found.converged) == (16, True)
    assert found.counts.accuracy == 0.9


def test_it_says_that_it_still_improved(scripted, data):
    trained = scripted({8: 0.2, 16: 0.4, 32: 0.6, 64: 0.8})
    found = train_until_converged(net(), data, data, validation=data)
    assert [epochs for _, epochs in trained] == [8, 16, 32, 64]
    assert (found.epochs, found.converged) == (FIRST_EPOCHS * 2**DOUBLINGS, False)


def test_without_a_validation_split_a_tenth_chooses_and_all_are_learned(scripted, data):
    trained = scripted({8: 0.9, 16: 0.9})
    found = train_until_converged(net(), data, data)
    assert trained == [(180, 8), (180, 16), (200, 8)]
    assert (found.epochs, found.converged) == (FIRST_EPOCHS, True)


def test_few_examples_are_learned_for_so_many_steps_that_a_plateau_says_something(
    data, scripted, monkeypatch
):
    trained = scripted({150: 0.9, 300: 0.9})
    monkeypatch.setattr(plain_training, "MIN_STEPS", MIN_STEPS)
    found = train_until_converged(net(), data, data, validation=data)
    # 200 examples are two steps an epoch
    assert [epochs for _, epochs in trained] == [150, 300]
    assert found.converged


def test_a_plateau_below_what_the_net_reaches_with_privacy_is_no_convergence(scripted, data):
    trained = scripted({8: 0.5, 16: 0.5, 32: 0.5, 64: 0.5})
    found = train_until_converged(net(), data, data, validation=data, reached=0.98)
    assert [epochs for _, epochs in trained] == [8, 16, 32, 64]
    assert not found.converged
    trained = scripted({8: 0.5, 16: 0.9, 32: 0.97, 64: 0.97})
    assert train_until_converged(net(), data, data, validation=data, reached=0.98).epochs == 32


def test_the_net_is_left_as_it_is_and_an_interrupted_training_is_resumed(data, tmp_path, monkeypatch):
    monkeypatch.setattr(plain_training, "MIN_STEPS", 40)
    fresh = net()
    first = train_until_converged(fresh, data, data, checkpoints=tmp_path)
    assert not fresh.weight.any()
    assert {path.name for path in tmp_path.iterdir()} >= {"plain-20.safetensors", "plain-40.safetensors"}
    assert train_until_converged(fresh, data, data, checkpoints=tmp_path) == first
