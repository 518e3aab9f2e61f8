"""Every registered attack on what sites send: pictures behind updates and sums."""

import copy

import pytest
import torch

from quintain.core.registry import declared_entries
from quintain.data import from_arrays
from quintain.leakage import Candidates, Knowledge, UpdateView
from quintain.leakage.local_steps import ONE_STEP, site_update
from quintain.models import mlp

FOUND = declared_entries("leak")
on_pictures = pytest.mark.parametrize(
    "name", sorted(name for name, entry in FOUND.items() if entry.fact("goal") == "pictures")
)


def guess_pictures(name, net, x, y, *, public, seed=3, **settings):
    """What an attack guesses at the examples of one site each, and the view that it had."""
    entry = FOUND[name]
    access = entry.fact("access")
    view = UpdateView(
        net,
        lambda sent: torch.stack(
            [site_update(sent, x[i : i + 1], y[i : i + 1], ONE_STEP).double() for i in range(len(x))]
        ).mean(0),
        access="update" if len(x) == 1 else "sum",
        sites=len(x),
        choose=access == "sum",
    )
    wanted = Candidates(torch.full((len(x),), -1), torch.arange(len(x)), tuple(x.shape[1:]))
    attack = entry.build(**{"steps": 5, "units": 64} | settings)
    return attack.guess(view, Knowledge(public=public), wanted, budget=2, seed=seed), view


def small_pictures(count, seed=1):
    x = torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
    return x, torch.arange(count) % 2


@on_pictures
@pytest.mark.parametrize("count", [1, 3])
def test_guesses_are_pictures_that_follow_from_the_seed_and_the_net_is_left_alone(name, count):
    net, (x, y) = mlp(2, 1, 4).eval(), small_pictures(count)
    public = from_arrays(small_pictures(40, 2)[0].numpy(), [0, 1] * 20)
    before, state = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    (first, view), (again, _) = (guess_pictures(name, net, x, y, public=public) for _ in range(2))
    assert first.images.shape[1:] == (1, 4, 4)
    assert len(first.images) >= 1
    assert first.images.dtype == torch.float32
    assert ((first.images >= 0) & (first.images <= 1)).all()
    assert torch.equal(first.images, again.images)
    assert first.queries == view.queries >= 1
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
    assert all(one.grad is None for one in net.parameters())
    assert torch.equal(state, torch.get_rng_state())


@on_pictures
def test_sites_that_refuse_the_net_give_no_picture(name):
    entry = FOUND[name]
    public = from_arrays(small_pictures(40, 2)[0].numpy(), [0, 1] * 20)
    view = UpdateView(mlp(2, 1, 4).eval(), lambda _: None, choose=True)
    wanted = Candidates(torch.tensor([-1]), torch.tensor([0]), (1, 4, 4))
    guess = entry.build(steps=2).guess(view, Knowledge(public=public), wanted, budget=2, seed=0)
    assert guess.images.shape == (0, 1, 4, 4)
