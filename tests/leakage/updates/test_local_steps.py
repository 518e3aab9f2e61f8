"""Local steps that can be differentiated: beside the training loop, finite differences, and batch norms."""

import copy

import pytest
import torch
from torch import nn

from quintain.core.errors import ModelError, SettingError
from quintain.data import from_arrays
from quintain.leakage import LocalSteps, ModelView, UpdateView
from quintain.leakage.local_steps import ONE_STEP, client_net, local_update, site_update
from quintain.leakage.update_view import require_updates
from quintain.leakage.updates.fedavg_inversion import UnrolledLoss, merge_passes
from quintain.models import Classifier, mlp
from quintain.training import Recipe, fit


def examples(count, seed=0, size=4):
    x = torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x, torch.arange(count) % 2


def flat(net):
    return torch.cat([one.detach().flatten() for one in net.parameters()])


@pytest.mark.parametrize(("epochs", "lr"), [(1, 0.1), (3, 0.05)])
def test_an_update_is_what_the_training_loop_changes(epochs, lr):
    """Full batches, so that no order matters."""
    net, (x, y) = mlp(2, 1, 6).eval(), examples(6, size=6)
    trained = copy.deepcopy(net)
    recipe = Recipe(epochs, batch_size=6, learning_rate=lr, optimizer="sgd", schedule="constant")
    fit(trained, from_arrays(x.float().numpy(), y.tolist()), recipe)
    found = site_update(net, x, y, LocalSteps(lr, epochs=epochs))
    # weights of float32 are rounded, and their differences are divided by the learning rate
    assert torch.allclose(found, (flat(net) - flat(trained)) / lr, atol=1e-5)
    assert found.abs().max() > 1e-2


def test_one_step_sends_the_gradient_and_leaves_the_net_alone():
    net, (x, y) = mlp(2, 1, 4).double().eval(), examples(5)
    before = flat(net).clone()
    loss = nn.functional.cross_entropy(net(x), y)
    gradient = torch.cat([one.flatten() for one in torch.autograd.grad(loss, list(net.parameters()))])
    assert torch.allclose(site_update(net, x, y, ONE_STEP), gradient)
    assert torch.equal(flat(net), before)
    assert all(one.grad is None for one in net.parameters())


def test_batches_are_every_row_once_an_epoch_in_an_order_that_follows_from_the_seed():
    local = LocalSteps(batch_size=4, epochs=2)
    for seed in (None, 1, 2):
        batches = list(local.batches(10, seed=seed))
        assert [len(rows) for _, rows in batches] == [4, 4, 2] * 2
        for epoch in range(2):
            rows = torch.cat([rows for one, rows in batches if one == epoch])
            assert sorted(rows.tolist()) == list(range(10))
        assert (torch.cat([rows for _, rows in batches]).tolist() == [*range(10), *range(10)]) == (
            seed is None
        )
    assert local.num_steps(10) == 6
    assert local.has_orders(10)
    assert not LocalSteps(epochs=3).has_orders(10)


def test_an_update_is_differentiated_through_all_steps():
    net, (x, y) = client_net(mlp(2, 1, 4).double(), ONE_STEP), examples(4)
    x.requires_grad_()
    direction = torch.linspace(-1, 1, flat(net).numel(), dtype=torch.float64)

    def value(x):
        steps = [(x[:2], y[:2]), (x[2:], y[2:])]
        return local_update(net, steps, 0.5, differentiable=True) @ direction

    gradient = torch.autograd.grad(value(x), x)[0]
    change = torch.zeros_like(x)
    change[0, 0, 1, 2] = 1e-5
    slope = (value(x + change) - value(x - change)) / 2e-5
    assert gradient[0, 0, 1, 2].item() == pytest.approx(slope.item(), rel=1e-4, abs=1e-9)
    # the pictures of the first step reach the gradient of the second
    second = local_update(net, [(x[:2], y[:2]), (x[2:], y[2:])], 0.5, differentiable=True)
    alone = local_update(net, [(x[2:], y[2:])], 0.5) + local_update(net, [(x[:2], y[:2])], 0.5)
    assert not torch.allclose(second, alone)


def normed():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    net[2].running_mean.fill_(0.3)
    return net.double().eval()


@pytest.mark.parametrize("batch_statistics", [False, True])
def test_batch_norms_are_run_as_the_client_runs_them_and_keep_their_buffers(batch_statistics):
    net, (x, y) = normed(), examples(6)
    buffers = {name: one.clone() for name, one in net.named_buffers()}
    local = LocalSteps(0.1, batch_statistics=batch_statistics, epochs=2)
    theirs = copy.deepcopy(net).train(batch_statistics)
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        nn.functional.cross_entropy(theirs(x), y).backward()
        optimizer.step()
    found = site_update(net, x, y, local)
    assert torch.allclose(found, (flat(net) - flat(theirs)) / 0.1, atol=1e-9)
    assert all(torch.equal(buffers[name], one) for name, one in net.named_buffers())


@pytest.mark.parametrize(
    "local",
    [
        ONE_STEP,
        LocalSteps(0.1, epochs=3),
        LocalSteps(0.1, batch_size=2),
        LocalSteps(0.1, batch_size=3, epochs=2, batch_statistics=True),
    ],
)
@pytest.mark.parametrize("sites", [1, 3])
def test_the_true_pictures_in_their_true_order_have_no_loss(local, sites):
    net, (x, y) = normed(), examples(6 * sites)
    y = torch.arange(sites).repeat_interleave(6) % 2  # one label a site, which no order mixes
    pictures, updates, passes = [], [], local.epochs if local.has_orders(6) else 1
    for site in range(sites):
        own = slice(6 * site, 6 * site + 6)
        updates.append(site_update(net, x[own], y[own], local, seed=site))
        for epoch in range(passes):
            order = [rows for at, rows in local.batches(6, seed=site) if at == epoch]
            pictures.append(x[own][torch.cat(order)])
    unrolled = UnrolledLoss(client_net(net, local), sum(updates), y.view(sites, 6), local)
    assert unrolled.passes == passes
    assert unrolled(torch.cat(pictures)).item() < 1e-9
    assert unrolled(1 - torch.cat(pictures)).item() > 1e-3


def test_pictures_of_epochs_are_matched_and_averaged():
    x, _ = examples(5)
    other = (x + 0.01)[[3, 1, 4, 0, 2]]
    assert torch.allclose(merge_passes(torch.stack([x, other])), x + 0.005)
    assert torch.equal(merge_passes(x[None]), x)


def test_settings_out_of_range_are_refused():
    for settings in ({"learning_rate": 0.0}, {"epochs": 0}, {"batch_size": -1}):
        with pytest.raises(SettingError, match="expected a positive rate"):
            LocalSteps(**settings)
    with pytest.raises(SettingError, match="takes no step"):
        local_update(mlp(), [], 0.1)


# -- the view
# ------------------------------------------------------------------------------------------------------------


def test_a_view_counts_rounds_and_an_honest_server_cannot_choose_the_net():
    net, sent = mlp(2, 1, 4).eval(), []

    def answer(given):
        sent.append(given)
        return torch.ones(3)

    view = UpdateView(net, answer, max_rounds=2)
    assert torch.equal(view.update(), torch.ones(3))
    with pytest.raises(SettingError, match="honest but curious"):
        view.update(mlp(2, 1, 4, seed=1).eval())
    assert (view.queries, len(sent)) == (1, 1)
    # what it gives to the attack and to the sites are copies
    view.net[1].weight.data.zero_()
    assert torch.equal(flat(view.net), flat(net))
    view.update()
    with pytest.raises(SettingError, match="asked for round 3; expected at most 2"):
        view.update()
    chosen, malicious = mlp(2, 1, 4, seed=1).eval(), UpdateView(net, answer, choose=True)
    malicious.update(chosen)
    assert sent[-1] is chosen


def test_views_that_make_no_sense_are_refused():
    net = mlp(2, 1, 4).eval()
    with pytest.raises(SettingError, match="a sum where there are several sites"):
        UpdateView(net, lambda _: None, sites=2)
    with pytest.raises(ModelError, match="training mode"):
        UpdateView(mlp(2, 1, 4).train(), lambda _: None)
    with pytest.raises(SettingError, match="expected an UpdateView"):
        require_updates(ModelView(Classifier(net, num_classes=2)), attack="this")
    assert UpdateView(net, lambda _: None, access="sum", sites=3, examples=4).num_pictures == 12
