import numpy as np
import torch

from quintain.data.dataset import from_arrays
from quintain.evaluate.leaks.job import TargetTraining
from quintain.evaluate.leaks.membership_trainings import compare_trainings
from quintain.evaluate.leaks.trainers import PrivateTrainer, RecipeTrainer
from quintain.evaluate.privacy_target import PrivacyTarget
from quintain.leakage import LiRA, LossThreshold
from quintain.models import mlp
from quintain.training import Recipe


def build(seed):
    return mlp(2, 1, 6, seed=seed)


def test_a_plain_training_tells_of_mislabeled_canaries_and_a_private_one_does_not(tmp_path):
    rng = np.random.default_rng(0)
    data = from_arrays(rng.random((80, 6, 6), dtype=np.float32), rng.integers(0, 2, 80))
    target = PrivacyTarget(epsilon=0.5, batch_size=10, steps=10)
    plain = RecipeTrainer(Recipe(epochs=80, batch_size=20, learning_rate=0.02))
    trainings = [
        TargetTraining("plain", build, plain),
        TargetTraining("private", build, PrivateTrainer(target), epsilon=0.5, delta=1e-5),
    ]
    found = compare_trainings(
        trainings, data, None, [LossThreshold(), LiRA()], canaries=60, shadows=4, folder=tmp_path, workers=1
    )
    areas = {
        (one.model, one.attack): one
        for one in found.measurements
        if one.measure == "AUC" and one.candidates == "mislabeled canaries"
    }
    assert areas["plain", "loss-threshold"].low > 0.5
    assert areas["plain", "loss-threshold"].ceiling is None
    for attack in ("loss-threshold", "lira"):
        assert areas["private", attack].low <= areas["private", attack].ceiling
    assert not [note for note in found.notes if note.startswith(("plain is right", "1 of 4 shadow"))]
    # a target and four shadow models of each training
    assert len(list(tmp_path.iterdir())) == 10


def test_nets_that_were_not_trained_are_noted(tmp_path):
    rng = np.random.default_rng(0)
    data = from_arrays(rng.random((80, 6, 6), dtype=np.float32), np.arange(80) % 2)
    training = TargetTraining("idle", build_blank, leave_as_it_is)
    found = compare_trainings(
        [training], data, None, [LiRA()], canaries=0, shadows=4, folder=tmp_path, workers=1
    )
    target, shadows = (note for note in found.notes if "not shown to have learned anything" in note)
    assert target.startswith("idle is right on ")
    assert " of 40 examples that it was trained on" in target
    assert shadows.startswith("4 of 4 shadow models are not shown")


def build_blank(seed):
    net = build(seed)
    *_, weight, bias = net.parameters()
    torch.nn.init.zeros_(weight)
    torch.nn.init.zeros_(bias)
    return net


def leave_as_it_is(_net, _data, _seed):
    pass
