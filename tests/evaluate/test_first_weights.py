"""What private training starts from: weights that a factory gives are seen, and the assumption is said."""

import pytest

from quintain.data.dataset import Dataset
from quintain.evaluate.first_weights import first_weights_notes
from quintain.evaluate.leaks.trainers import NetBuilder
from tests.evaluate.support.private_blobs import data

NETS = """
import torch
from torch import nn


def fresh(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(12, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 2))


def zeros():
    net = nn.Linear(12, 2)
    for one in net.parameters():
        nn.init.zeros_(one)
    return net


def loaded():
    return fresh(7)


def backbone(seed=0):
    net = fresh(seed)
    net[0] = fresh(7)[0].requires_grad_(False)
    return net


def buffer(seed=0):
    net = fresh(seed)
    net.register_buffer("mean", torch.arange(12.0))
    return net


def quantized(seed=0):
    net = fresh(seed)
    net.register_buffer("rounded", torch.arange(12, dtype=torch.int8))
    return net


def learned(seed=0):
    net = nn.Linear(12, 2)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[-1.0], [1.0]]).expand(2, 12) + 0.01 * torch.randn(2, 12))
        net.bias.copy_(torch.tensor([4.8, -4.8]) + 0.01 * torch.randn(2))
    return net
"""


@pytest.fixture
def told(tmp_path, monkeypatch):
    """Give the notes of a factory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(NETS)

    def notes(name: str, examples: Dataset | None = None) -> tuple[str, ...]:
        return first_weights_notes(NetBuilder(f"nets.py:{name}", {"num_classes": 2}), examples or data(200))

    return notes


@pytest.mark.parametrize("name", ["fresh", "zeros"])
def test_weights_that_are_drawn_or_hold_nothing_are_no_assumption(told, name):
    assert told(name) == ()


@pytest.mark.parametrize(
    ("name", "which"),
    [
        ("loaded", "0.weight and 3 more"),
        ("backbone", "0.weight and 1 more"),
        ("buffer", "mean"),
        ("quantized", "rounded"),
    ],
)
def test_weights_that_are_the_same_for_every_seed_are_said_and_assumed(told, name, which):
    (note,) = told(name)
    assert note.startswith(f"nets.py:{name} gives the same weights for every seed ({which}): ")
    assert "Assumed: they were made without the records" in note


def test_nets_that_have_learned_whatever_the_seed_are_said(told):
    (note,) = told("learned")
    assert note.startswith("nets.py:learned gives weights that have learned, whatever the seed: ")


def test_nets_of_a_registered_name_are_built_fresh():
    assert first_weights_notes(NetBuilder("xray-cnn", {"num_classes": 2}), None) == ()
