"""Every registered defense."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from quintain.core.registry import declared_entries, entries
from quintain.data import from_arrays
from quintain.evaluate.steps.harden import with_epochs
from quintain.harden import fit
from quintain.testing import random_inputs
from quintain.threats import parse

DEFENSES = declared_entries("defense")
every_defense = pytest.mark.parametrize("name", sorted(DEFENSES))


def defense_of(name: str):
    """A defense of one epoch, against its example, in several steps, so that their order counts."""
    entry = DEFENSES[name]
    made = with_epochs(entry.build(threat=parse(entry.fact("example")), sigma=0.25), 1)
    return replace(made, recipe=replace(made.recipe, batch_size=16))


def trained(name: str, seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(4)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2))
    data = from_arrays(random_inputs(40, 1, 4, 4, seed=2).numpy(), torch.arange(40).remainder(2).numpy())
    losses = fit(net, data, defense_of(name), seed=seed).losses
    assert len(losses) == 1
    assert not any(module.training for module in net.modules())
    return net.state_dict()


@every_defense
def test_what_it_says_of_itself_is_there(name):
    entry = DEFENSES[name]
    assert entry.guarantee
    certifier = declared_entries("certifier")[entry.fact("certifier")]
    assert set(entry.words("supports")) <= set(entries("threat"))
    assert entry.fact("example").partition(":")[0] in entry.words("supports")
    assert defense_of(name).threat.spec.partition(":")[0] in certifier.words("supports")


@every_defense
def test_a_training_follows_from_its_seed(name):
    first, again, other = trained(name, 1), trained(name, 1), trained(name, 2)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)
