"""Every registered attack on what a model or a site gives away."""

import copy

import pytest
import torch
from torch import nn

from quintain.core.progress import no_progress
from quintain.core.registry import declared_entries
from quintain.models import mlp

FOUND = declared_entries("leak")
GOALS = ("membership", "identity", "pictures", "updates", "agreement", "attributes", "exposure")
ACCESS = ("labels", "scores", "gradients", "update", "sum")
on_updates = pytest.mark.parametrize(
    "name", sorted(name for name, entry in FOUND.items() if entry.fact("access") == "update")
)


@pytest.mark.parametrize("name", sorted(FOUND))
def test_it_says_what_it_seeks_what_it_reads_and_what_it_guarantees(name):
    assert FOUND[name].guarantee
    assert FOUND[name].fact("goal") in GOALS
    assert FOUND[name].fact("access") in ACCESS


@on_updates
def test_a_reconstruction_is_an_example_that_follows_from_the_seed_and_the_net_is_left_alone(name):
    net = mlp(2, 1, 4).eval()
    x, y = torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(1)), torch.tensor([1])
    loss = nn.functional.cross_entropy(net(x), y)
    gradient = torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(net.parameters()))])
    before = copy.deepcopy(net.state_dict())
    first, again = (
        FOUND[name].load()(
            net, gradient.clone(), (1, 4, 4), steps=5, tv_weight=1e-4, seed=3, progress=no_progress
        )
        for _ in range(2)
    )
    assert tuple(first.image.shape) == (1, 4, 4)
    assert ((first.image >= 0) & (first.image <= 1)).all()
    assert torch.equal(first.image, again.image)
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
