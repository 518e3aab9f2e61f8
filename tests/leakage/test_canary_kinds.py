"""Canaries for black boxes: what each kind makes, what a training gets, how its model scores them."""

import numpy as np
import pytest
import torch
from torch import nn

from quintain.core.errors import DataError, ModelError, SettingError
from quintain.data.dataset import from_arrays
from quintain.leakage.black_box import BlackBoxTraining
from quintain.leakage.canary_kinds import CANARY_KINDS, CanaryExamples, canary_maker
from quintain.leakage.canary_scores import canary_scores
from quintain.leakage.canary_training import train_black_box

IMAGES = np.random.default_rng(0).random((60, 3, 6, 6), dtype=np.float32)
LABELS = np.random.default_rng(1).integers(0, 5, 60)
DATA = from_arrays(IMAGES, LABELS, num_classes=5)


@pytest.mark.parametrize("kind", CANARY_KINDS)
def test_canaries_follow_from_the_seed_and_take_the_place_of_distinct_records(kind):
    one, same, other = (CANARY_KINDS[kind](DATA, 40, seed) for seed in (0, 0, 1))
    assert torch.equal(one.x, same.x)
    assert torch.equal(one.y, same.y)
    assert not torch.equal(one.x, other.x)
    assert len(set(one.rows.tolist())) == len(one) == 40
    assert one.x.shape == (40, 3, 6, 6)
    assert one.x.dtype == torch.float32
    assert 0 <= one.x.min() <= one.x.max() <= 1
    assert set(one.y.tolist()) <= set(range(5))


@pytest.mark.parametrize("kind", CANARY_KINDS)
def test_there_must_be_more_records_than_canaries(kind):
    with pytest.raises(SettingError, match="60 canaries for 60 records"):
        CANARY_KINDS[kind](DATA, 60, 0)


def test_mislabeled_canaries_are_records_with_every_wrong_label_and_never_the_right_one():
    canaries = CANARY_KINDS["mislabeled"](DATA, 59, 0)
    x, y = DATA.batch(canaries.rows)
    assert torch.equal(canaries.x, x)
    shifts = (canaries.y - y) % 5
    assert set(shifts.tolist()) == {1, 2, 3, 4}


def test_own_canaries_stand_nowhere_else(tmp_path):
    """One that is a record, or a copy of another, is trained on whatever its coin says."""
    path = tmp_path / "own.npz"
    fresh = np.random.default_rng(2).random((20, 3, 6, 6), dtype=np.float32)

    def own(images, count=20):
        np.savez(path, images=images, labels=np.zeros(20, dtype=int))
        return canary_maker(str(path))[1](DATA, count, 0)

    assert torch.equal(own(fresh).x, torch.from_numpy(fresh))
    known = np.concatenate([fresh[:18], IMAGES[[7, 3]]])
    with pytest.raises(DataError, match=r"2 of 20 canaries .* are records of .*canary 19 and record 3: "):
        own(known)
    # only those that are taken count
    assert len(own(known, count=18)) == 18
    copies = np.concatenate([fresh[:10], fresh[:10]])
    with pytest.raises(DataError, match="10 different canaries among its first 20: canary 10 is canary 0 "):
        own(copies)


def test_blank_canaries_are_of_one_value_a_channel():
    x = CANARY_KINDS["blank"](DATA, 10, 0).x
    assert torch.equal(x, x[:, :, :1, :1].expand_as(x))


def test_a_vector_is_scored_by_its_log_odds_in_float64():
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(size=(20, 4)) * 30)
    y = torch.from_numpy(rng.integers(0, 4, 20))
    canaries = CanaryExamples(torch.zeros(20, 7), y, np.arange(20))
    scores = canary_scores(lambda _: logits, canaries, num_classes=4)
    p = logits.softmax(1)
    expected = [float((p[i, y[i]] / (1 - p[i, y[i]])).log()) for i in range(20) if p[i, y[i]] < 0.99]
    found = [score for i, score in enumerate(scores) if p[i, y[i]] < 0.99]
    assert found == pytest.approx(expected, rel=1e-9)
    # Probabilities say the same, as far as they have digits.
    same = canary_scores(lambda _: p, canaries, num_classes=4)
    near = np.abs(scores) < 20
    assert same[near] == pytest.approx(scores[near], rel=1e-6)


def test_logits_whose_differences_would_overflow_are_scored(recwarn):
    logits = torch.tensor([[1.7e308, -1.7e308], [-1.7e308, 1.7e308]], dtype=torch.float64)
    canaries = CanaryExamples(torch.zeros(2, 7), torch.tensor([0, 0]), np.arange(2))
    first, second = canary_scores(lambda _: logits, canaries, num_classes=2)
    assert np.isfinite([first, second]).all()
    assert first > second
    assert not recwarn


def test_an_image_is_scored_against_its_neighbors_so_that_what_all_share_counts_once():
    x, y = DATA.batch(np.arange(6))
    canaries = CanaryExamples(x, y % 2, np.arange(6))
    constant = canary_scores(lambda z: torch.full((len(z), 2), 3.0), canaries, num_classes=2)
    assert constant == pytest.approx(np.zeros(6))

    def remembers(z):
        """One for the very images, zero for all others."""
        known = (z.flatten(1)[:, None] == x.flatten(1)[None]).all(2).any(1).float()
        return torch.stack([known * (y[0] % 2 == 0), known * (y[0] % 2 == 1)], 1)

    scores = canary_scores(remembers, canaries, num_classes=2)
    assert abs(scores) == pytest.approx(np.full(6, 2.0))


class Recorded(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Sequential(nn.Flatten(), nn.Linear(108, 5), nn.Dropout(0.9))

    def forward(self, x):
        assert not self.training
        assert not torch.is_grad_enabled()
        return self.layer(x)


@pytest.mark.parametrize("adjacency", ["add/remove", "replace"])
def test_what_a_training_gets(adjacency):
    seen = []

    def train(dataset, seed):
        seen.append((*dataset.tensors, seed))
        return Recorded()

    words = {"canaries": 40, "adjacency": adjacency, "seed": 3}
    found = train_black_box(BlackBoxTraining.of(train), DATA, CANARY_KINDS["mislabeled"], **words)
    x, y, seed = seen[0]
    included = int(found.included.sum())
    assert 0 <= seed < 2**31
    assert len(found.scores) == 40
    assert len(x) == (60 if adjacency == "replace" else 20 + included)
    # Each record is there once, under its right label unless it is an included canary.
    right = {image.tobytes(): label for image, label in zip(IMAGES, LABELS, strict=True)}
    wrong = [right[image.numpy().tobytes()] != label for image, label in zip(x, y.tolist(), strict=True)]
    assert sum(wrong) == included
    assert len({image.numpy().tobytes() for image in x}) == len(x)
    # The order tells nothing: canaries stand anywhere.
    assert 0 < np.flatnonzero(wrong).mean() - 5 < len(x)
    again = train_black_box(BlackBoxTraining.of(train), DATA, CANARY_KINDS["mislabeled"], **words)
    assert np.array_equal(again.included, found.included)
    assert torch.equal(seen[0][0], seen[1][0])


def test_a_training_may_change_what_it_gets():
    def train(x, y, seed):
        x[:] = 0
        y[:] = 0
        return lambda z: z.reshape(len(z), -1)[:, :5].__imul__(2)

    x, y = DATA.batch(np.arange(60))
    before = x.clone(), y.clone()
    model = BlackBoxTraining.of(train)(x, y, 0)
    model(x)
    assert torch.equal(x, before[0])
    assert torch.equal(y, before[1])


def test_a_function_gets_what_its_training_got_and_a_module_tensors():
    x, y = DATA.batch(np.arange(3))
    assert BlackBoxTraining.of(lambda dataset, seed: type)(x, y, 0)(x) is torch.Tensor
    assert BlackBoxTraining.of(lambda x, y, seed: type)(x, y, 0)(x) is np.ndarray
    assert BlackBoxTraining.of(lambda x, y, seed: nn.Flatten())(x, y, 0)(x).shape == (3, 108)


def test_what_fails_is_named():
    x, y = DATA.batch(np.arange(3))

    def fails(dataset, seed):
        raise KeyError("lr")

    with pytest.raises(ModelError, match="mine fails: KeyError: 'lr'"):
        BlackBoxTraining.of(fails, "mine")(x, y, 0)

    def fails_at_length(dataset, seed):
        raise ValueError("boom\nsecond line")

    with pytest.raises(ModelError, match="mine fails: ValueError: boom second line; correct it"):
        BlackBoxTraining.of(fails_at_length, "mine")(x, y, 0)
    with pytest.raises(SettingError, match=r"takes \(net, dataset, seed\); expected train"):
        BlackBoxTraining.of(lambda net, dataset, seed: net)
    with pytest.raises(SettingError, match="expected train"):
        BlackBoxTraining.of(print)


@pytest.mark.parametrize("adjacency", ["add/remove", "replace"])
def test_a_trained_model_is_asked_about_records_that_it_was_trained_on_and_no_canaries(adjacency):
    known = {}

    def train(dataset, seed):
        known.update({x.numpy().tobytes(): int(y) for x, y in zip(*dataset.tensors, strict=True)})

        def logits(x):
            # no class for what was not trained on
            found = torch.tensor([known.get(one.numpy().tobytes(), 5) for one in x])
            return nn.functional.one_hot(found, 6).double()

        return logits

    seen = train_black_box(
        BlackBoxTraining.of(train), DATA, CANARY_KINDS["pattern"], canaries=20, adjacency=adjacency, seed=0
    )
    left_out = 0 if adjacency == "add/remove" else int((~seen.included).sum())
    assert seen.fit.num_correct == seen.fit.num_examples == 40 + left_out
