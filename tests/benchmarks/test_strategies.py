"""The comparison of strategies trains as the command does, and counts what it says."""

import numpy as np
import pytest
import torch

from benchmarks.federated import strategies
from benchmarks.federated.strategies import Setting, Trained, in_validation, paired, train_together
from quintain.data import load_data
from quintain.data.dataset import from_arrays
from quintain.evaluate.steps.federate import run_federate
from quintain.federated.strategies.fedavgm import FedAvgM
from quintain.models import mlp


def test_a_common_model_is_that_of_the_command_bit_for_bit(monkeypatch, tmp_path):
    monkeypatch.setattr(strategies, "NUM_ROUNDS", 2)
    data = load_data("xrays").split("train").subset(np.arange(400))
    ours, theirs = mlp(seed=3), mlp(seed=3)
    train_together(ours, Setting(FedAvgM()), data, seed=7)
    run_federate(
        theirs, data, data.subset(np.arange(50)), rounds=2, strategy="fedavgm", seed=7, folder=tmp_path
    )
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_errors_and_cross_entropy_are_those_of_the_logits():
    data = from_arrays(np.zeros((4, 1), np.float32), np.array([0, 1, 1, 0]))
    one = Trained(np.array([-2.0, 3.0, -0.5, 40.0]), 1.0)
    assert one.wrong(data) == 2
    logits = torch.tensor([[0.0, score] for score in one.scores])
    expected = torch.nn.functional.cross_entropy(logits, torch.from_numpy(data.labels))
    assert one.cross_entropy(data) == pytest.approx(float(expected))
    assert in_validation([one, Trained(-one.scores, 1.0)], data).startswith("2.0 of 4 wrong (2, 2)")


def test_models_of_the_same_seeds_are_compared_in_pairs():
    data = from_arrays(np.zeros((4, 1), np.float32), np.array([0, 1, 1, 0]))
    right = Trained(np.array([-1.0, 1.0, 1.0, -1.0]), 1.0)
    worse = [Trained(scale * right.scores, 1.0) for scale in (-1.0, -2.0, 0.5, -3.0)]
    text = paired(worse, [right] * 4, data)
    assert text.startswith("3.0 (95 %: -0.2 to 6.2; 4.0, 4.0, 0.0, 4.0) errors, Wilcoxon's p = ")
    # the four differences have one sign, of which 2 in 2^4 are as uneven
    assert text.endswith("cross-entropy higher in 4 of 4 seeds, Wilcoxon's p = 0.12")
