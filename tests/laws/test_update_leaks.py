"""Every registered attack on what sites send: pictures behind updates and sums."""

import copy

import pytest
import torch

from quintain.core.registry import declared_entries
from quintain.data import from_arrays
from quintain.leakage import Candidates, Knowledge, UpdateView, read_imprint
from quintain.leakage.judges.pictures import (
    GuessedUpdate,
    KnownPictures,
    compare_pictures,
    judge_reconstructed,
    match_pictures,
)
from quintain.leakage.local_steps import ONE_STEP, site_update
from quintain.leakage.updates.imprint import imprint_in_front
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
    attack = entry.build(**({"steps": 5, "units": 64} | settings))
    return attack.guess(view, Knowledge(public=public), wanted, budget=2, seed=seed), view


def small_pictures(count, seed=1):
    x = torch.rand(count, 1, 6, 6, generator=torch.Generator().manual_seed(seed))
    return x, torch.arange(count) % 2


@on_pictures
@pytest.mark.parametrize("count", [1, 3])
def test_guesses_are_pictures_that_follow_from_the_seed_and_the_net_is_left_alone(name, count):
    net, (x, y) = mlp(2, 1, 6).eval(), small_pictures(count)
    public = from_arrays(small_pictures(40, 2)[0].numpy(), [0, 1] * 20)
    before, state = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    (first, view), (again, _) = (guess_pictures(name, net, x, y, public=public) for _ in range(2))
    assert first.images.shape[1:] == (1, 6, 6)
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
    view = UpdateView(mlp(2, 1, 6).eval(), lambda _: None, choose=True)
    wanted = Candidates(torch.tensor([-1]), torch.tensor([0]), (1, 6, 6))
    guess = entry.build(steps=2).guess(view, Knowledge(public=public), wanted, budget=2, seed=0)
    assert guess.images.shape == (0, 1, 6, 6)


def test_the_input_of_a_dense_net_comes_back_to_1e_6():
    net, (x, y) = mlp(2, 1, 6).eval(), small_pictures(1)
    guess, _ = guess_pictures("dense-layer", net, x, y, public=None)
    assert (guess.images - x).abs().max() < 1e-6


@pytest.mark.parametrize("sites", [1, 2, 5])
def test_an_imprint_reads_pictures_to_1e_12_out_of_any_sum(sites):
    """In float64, of pictures that lie alone between two thresholds, whatever the net behind it."""
    net, (x, y) = mlp(2, 1, 6).double().eval(), small_pictures(sites)
    x = (x.double() * 0.1 + torch.arange(1, sites + 1).view(-1, 1, 1, 1) / (sites + 2)).clamp(0, 1)
    thresholds = torch.arange(sites + 1).double() / (sites + 2) + 0.05
    sent = imprint_in_front(net, thresholds, (1, 6, 6), seed=0)
    total = sum(site_update(sent, x[i : i + 1], y[i : i + 1], ONE_STEP) for i in range(sites))
    units = len(thresholds)
    found = read_imprint(total[: 36 * units].view(units, 36), total[36 * units : 37 * units], (1, 6, 6))
    assert found.dtype == torch.float64
    matched = torch.cdist(x.flatten(1), found.flatten(1), p=torch.inf).amin(1)
    assert matched.max() < 1e-12


@on_pictures
def test_the_order_of_the_sites_changes_no_guess_beyond_rounding(name):
    net, (x, y) = mlp(2, 1, 6).double().eval(), small_pictures(3)
    public = from_arrays(small_pictures(40, 2)[0].numpy(), [0, 1] * 20)
    order = torch.tensor([2, 0, 1])
    settings = {"steps": 2, "tv_weights": (1e-4,)}
    one, _ = guess_pictures(name, net, x, y, public=public, **settings)
    other, _ = guess_pictures(name, net, x[order], y[order], public=public, **settings)
    matched = match_pictures(other.images.numpy(), one.images.numpy())
    assert (matched.qualities > 60).all()


@on_pictures
def test_an_update_without_the_picture_gives_no_gain(name):
    """The judge's verdict on guesses of other pictures' updates, as many as there are."""
    net, (x, y) = mlp(2, 1, 6).eval(), small_pictures(6)
    public = from_arrays(small_pictures(200, 2)[0].numpy(), [0, 1] * 100)
    guesses = [
        guess_pictures(name, net, x[i : i + 1], y[i : i + 1], public=public)[0].images.numpy()
        for i in range(6)
    ]
    known = KnownPictures(public.batch(range(200))[0].numpy(), public.labels)
    updates = [
        GuessedUpdate(x[i : i + 1].numpy(), guesses[(i + 1) % 6], guesses[(i + 2) % 6]) for i in range(6)
    ]
    judged = judge_reconstructed(compare_pictures(updates, known))
    assert judged.value == 0 >= judged.gain
    assert judged.low == 0
