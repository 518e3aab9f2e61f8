"""Every registered attack on an update, and every auditor of scores."""

import copy

import pytest
import torch
from torch import nn

from quintain.core.progress import no_progress
from quintain.core.registry import declared_entries
from quintain.models import mlp
from quintain.testing import NULL_SCORES, check_audit_level, check_audit_power, gaussian_scores

FOUND = declared_entries("privacy_attack")
on_updates = pytest.mark.parametrize(
    "name", sorted(name for name, entry in FOUND.items() if entry.fact("reads") == "update")
)
auditors = pytest.mark.parametrize(
    "name", sorted(name for name, entry in FOUND.items() if entry.fact("reads") == "scores")
)


@pytest.mark.parametrize("name", sorted(FOUND))
def test_it_says_what_it_reads_and_what_it_guarantees(name):
    assert FOUND[name].guarantee
    assert FOUND[name].fact("reads") in ("update", "scores", "sum")


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


@auditors
def test_scores_that_tell_nothing_show_nothing(name):
    null = next(iter(NULL_SCORES.values()))
    check_audit_level(null, 0.0, audit=FOUND[name].load(), canaries=100, runs=200)


@auditors
def test_scores_that_tell_all_show_a_leak(name):
    check_audit_power(gaussian_scores(100.0), 1.0, audit=FOUND[name].load(), canaries=200, runs=3)
