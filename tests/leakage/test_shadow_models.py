import os
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from quintain.core.errors import (
    DataError,
    ExecutionError,
    ModelError,
    RunFolderError,
    SettingError,
    TrainingFailedError,
)
from quintain.data.dataset import from_arrays
from quintain.leakage import shadow_models
from quintain.leakage.shadow_models import InPlaceTrainer, draw_halves, train_or_load, train_shadows
from quintain.models import mlp
from quintain.models.classifier import Classifier
from quintain.models.sealed_tensors import seal_checkpoint
from quintain.training import Recipe, fit


def pool(count=20, seed=0, size=4):
    rng = np.random.default_rng(seed)
    return from_arrays(rng.random((count, size, size), dtype=np.float32), rng.integers(0, 2, count))


def build(seed):
    return mlp(2, 1, 4, seed=seed)


@dataclass(frozen=True)
class Brief:
    epochs: int = 1

    def __call__(self, net, data, seed):
        fit(net, data, Recipe(epochs=self.epochs, batch_size=8), seed=seed)


def train(net, data, seed):
    Brief()(net, data, seed)


TRAINER = InPlaceTrainer(build, train)


def shadows_of(data, trainer=TRAINER, **given):
    return train_shadows(trainer, build(0), data, **{"count": 4, "workers": 1, **given})


def weights(shadows):
    return [parameter for one in shadows._classifiers for parameter in one.net.parameters()]


def equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


@pytest.mark.parametrize("candidates", [2, 7, 20])
def test_each_candidate_is_in_half_of_the_shadows_and_each_shadow_has_half_of_them(candidates):
    included = draw_halves(candidates, 8, seed=1)
    assert (included.sum(0) == 4).all()
    assert set(included.sum(1)) <= {candidates // 2, candidates - candidates // 2}
    assert np.array_equal(included, draw_halves(candidates, 8, seed=1))


def test_each_is_trained_on_its_half_and_on_the_rest():
    seen = []

    def trainer(data, seed):
        seen.append((set(data.batch(torch.arange(len(data)))[0].flatten(1)[:, 0].tolist()), seed))
        return build(seed)

    data, rest = pool(20), pool(6, seed=1)
    shadows = shadows_of(data, trainer, rest=rest)
    firsts = data.batch(torch.arange(20))[0].flatten(1)[:, 0]
    others = set(rest.batch(torch.arange(6))[0].flatten(1)[:, 0].tolist())
    for row, (values, _) in zip(shadows.included, seen, strict=True):
        assert values == set(firsts[torch.from_numpy(row)].tolist()) | others
    assert len({seed for _, seed in seen}) == 4
    assert shadows.train_size == 16


def test_a_killed_run_goes_on_with_the_next_shadow(tmp_path, monkeypatch):
    data, calls, run = pool(), [], shadow_models._Work.run

    def stops_at_the_third(work, job):
        calls.append(job.seed)
        if len(calls) == 3:
            raise KeyboardInterrupt
        run(work, job)

    monkeypatch.setattr(shadow_models._Work, "run", stops_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        shadows_of(data, folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    shadows_of(data, folder=tmp_path)
    assert len(calls) == 5
    again = shadows_of(data, folder=tmp_path)
    assert len(calls) == 5
    assert equal(again, shadows_of(data))


def test_other_data_rows_seeds_trainers_and_nets_have_files_of_their_own(tmp_path):
    def files(**given):
        data = given.pop("data", pool())
        trainer, template = given.pop("trainer", TRAINER), given.pop("template", build(0))
        before = set(tmp_path.iterdir())
        train_shadows(trainer, template, data, **{"count": 2, "workers": 1, "folder": tmp_path, **given})
        return len(set(tmp_path.iterdir()) - before)

    assert files() == 2
    assert files(template=build(5)) == 0  # the template's weights do not matter
    assert files(count=4) == 2
    assert files(seed=1) == 2
    assert files(data=pool(seed=1)) == 2
    assert files(rest=pool(4, seed=2)) == 2
    assert files(trainer=InPlaceTrainer(build, Brief(2))) == 2
    wide = InPlaceTrainer(wider, train)
    assert files(trainer=wide, template=wider(0)) == 2


def wider(seed):
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.ReLU(), nn.Linear(5, 2))


def test_worker_processes_train_the_same_nets():
    data = pool()
    assert equal(shadows_of(data, workers=2, count=2), shadows_of(data, count=2))


def test_processes_of_torchrun_divide_the_work(tmp_path, monkeypatch):
    data, calls = pool(), []

    def trainer(data, seed):
        calls.append(seed)
        return TRAINER(data, seed)

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")

    monkeypatch.setattr(
        shadow_models,
        "_wait_for",
        lambda numbers, paths, advance: calls.append(tuple(numbers)) or _fill(numbers, paths),
    )
    shadows = shadows_of(data, trainer, folder=tmp_path)
    assert calls[-1] == (0, 2)
    assert len(calls) == 3
    assert len(shadows) == 4
    with pytest.raises(SettingError, match="several processes without a folder"):
        shadows_of(data)


def _fill(numbers, paths):
    for number in numbers:
        paths[number].write_bytes(seal_checkpoint(build(number).state_dict(), {}))


def test_confidences_are_those_of_the_models():
    data = pool()
    shadows = shadows_of(data)
    x, y = data.batch(torch.arange(len(data)))
    logits = torch.stack([model(x) for model in shadows.models]).double()
    expected = logits.gather(2, y.expand(4, -1).unsqueeze(2)) - logits.gather(
        2, 1 - y.expand(4, -1).unsqueeze(2)
    )
    assert shadows.confidences() == pytest.approx(expected.squeeze(2).numpy(), abs=1e-5)
    assert not logits.requires_grad


def test_a_target_among_its_shadows_and_one_of_another_size_are_refused(tmp_path):
    data = pool()
    shadows = shadows_of(data, folder=tmp_path)
    own = train_or_load(TRAINER, build(0), data, shadows.included[0], seed=0, folder=tmp_path)
    shadows.require_apart(Classifier(own).hash, 10)
    with pytest.raises(SettingError, match="one of its own shadow models"):
        shadows.require_apart(Classifier(shadows._classifiers[2].net).hash, 10)
    with pytest.raises(SettingError, match="trained on 20 examples and its shadow models on 10"):
        shadows.require_apart(Classifier(own).hash, 20)


def test_ids_that_are_not_the_pools_are_refused():
    data = pool()
    shadows = shadows_of(data, count=2)
    y = torch.from_numpy(data.labels)
    assert shadows.columns(torch.tensor([3, 1]), y[[3, 1]], attack="lira").tolist() == [3, 1]
    with pytest.raises(SettingError, match="positions in the shadow models' pool"):
        shadows.columns(torch.tensor([20]), y[:1], attack="lira")
    with pytest.raises(SettingError, match="other labels"):
        shadows.columns(torch.tensor([0]), 1 - y[:1], attack="lira")


def test_a_trainer_that_raises_is_named():
    def broken(net, data, seed):
        raise ValueError("no such layer")

    with pytest.raises(ModelError, match=r"on 10 examples failed: ValueError: no such layer"):
        shadows_of(pool(), InPlaceTrainer(build, broken))


def test_a_trainer_that_exits_is_named():
    with pytest.raises(ModelError, match=r"SystemExit: 3"):
        shadows_of(pool(), InPlaceTrainer(build, leave))


def leave(net, data, seed):
    raise SystemExit(3)


def test_a_net_of_another_architecture_than_the_template_is_refused():
    with pytest.raises(ModelError, match="Expected the template's architecture"):
        train_shadows(InPlaceTrainer(wider, train), build(0), pool(), count=2, workers=1)


def test_a_damaged_file_is_named(tmp_path):
    shadows_of(pool(), folder=tmp_path)
    one = next(tmp_path.iterdir())
    one.write_bytes(one.read_bytes()[:-1] + b"x")
    with pytest.raises(RunFolderError, match="delete it: it is trained again"):
        shadows_of(pool(), folder=tmp_path)


@pytest.mark.parametrize(("count", "candidates"), [(3, 20), (0, 20), (2, 1)])
def test_numbers_that_make_no_halves_are_refused(count, candidates):
    with pytest.raises(SettingError):
        draw_halves(candidates, count, 0)


@dataclass(frozen=True)
class Mine:
    """A function of the user's, as its name is known."""

    how: str
    spec: str = "mine.py:train"

    def __call__(self, net, data, seed):
        if self.how == "exit":
            os._exit(0)
        for one in net.parameters():
            one.data.fill_(float("nan"))


def test_who_trained_shadow_models_to_nan_is_named():
    with pytest.raises(
        TrainingFailedError, match=r"by mine\.py:train on 10 examples left weights that are NaN"
    ):
        shadows_of(pool(), InPlaceTrainer(build, Mine("nan")))


def the_same(data, seed):
    return build(0)


def test_a_training_that_gives_the_same_net_whatever_it_is_given_is_named():
    with pytest.raises(
        TrainingFailedError, match="4 shadow models on different halves of 20 candidates gave"
    ):
        shadows_of(pool(), the_same)


def test_scores_of_a_shadow_model_that_are_no_numbers_are_not_said_to_be_the_models():
    shadows = shadows_of(pool(), lambda data, seed: build(seed), count=2)
    with torch.no_grad():
        next(shadows._classifiers[1].net.parameters()).fill_(float("inf"))
    with pytest.raises(DataError, match="shadow model 2 of 2 gave scores that are NaN"):
        shadows.confidences()


def test_a_training_that_ends_its_process_is_named():
    with pytest.raises(ExecutionError, match=r"by mine\.py:train ended early; .*os\._exit"):
        shadows_of(pool(), InPlaceTrainer(build, Mine("exit")), count=2, workers=2)
