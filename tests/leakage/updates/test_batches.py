"""Pictures of batches and of several local steps: labels by counts, all images at once, closed forms."""

import pytest
import torch
from torch import nn

from quintain.core.errors import ModelError, SettingError
from quintain.core.statistics import psnr
from quintain.data import from_arrays
from quintain.leakage import Candidates, Knowledge, LocalSteps, UpdateView, read_imprint
from quintain.leakage.judges.pictures import match_pictures
from quintain.leakage.local_steps import ONE_STEP, client_net, site_update
from quintain.leakage.updates.batch_matching import match_batch, probe_inputs
from quintain.leakage.updates.dense_layer import DenseLayer, as_pixels, unit_inputs
from quintain.leakage.updates.fedavg_inversion import FedAvgInversion
from quintain.leakage.updates.gradient_inversion import GradientInversion, invert_gradient
from quintain.leakage.updates.gradient_matching import GradientMatchingLoss
from quintain.leakage.updates.gradient_parts import as_gradient_list
from quintain.leakage.updates.imprint import MAX_WEIGHTS, ImprintLayer, imprint_in_front, plant_imprint
from quintain.leakage.updates.label_recovery import infer_label_counts, labels_of
from quintain.models import mlp, xray_cnn
from quintain.models.nets import Normalize

SHAPE = (1, 8, 8)


def pictures(count, seed=0):
    """Blocks of gray."""
    coarse = torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
    return coarse.repeat_interleave(2, 2).repeat_interleave(2, 3)


def smooth_net(classes=2, bias=True):
    """A net whose second derivatives are smooth, so that no search hangs at the kink of a ReLU."""
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 48, bias=bias), nn.Tanh(), nn.Linear(48, classes, bias=bias)
    ).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in net.parameters():
        nn.init.uniform_(parameter, -0.3, 0.3, generator=generator)
    return net


def view(net, x, y, local=ONE_STEP, sites=1, **settings):
    parts = torch.arange(len(x)).split(len(x) // sites)

    def answer(sent):
        return torch.stack([site_update(sent, x[rows], y[rows], local).double() for rows in parts]).mean(0)

    return UpdateView(
        net,
        lambda sent: torch.stack([site_update(sent, x[one], y[one], local).double() for one in parts]).mean(
            0
        ),
        access="update" if sites == 1 else "sum",
        local=local,
        sites=sites,
        examples=len(x) // sites,
        **settings,
    )


def wanted(count, shape=SHAPE):
    return Candidates(torch.full((count,), -1), torch.arange(count), shape)


def qualities(guess, x):
    return match_pictures(guess.images.numpy(), x.numpy()).qualities


# -- labels
# ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("classes", [2, 5])
def test_labels_are_counted_from_the_mean_gradient(classes, bias):
    net = xray_cnn(classes, size=8).eval()
    if not bias:
        net[7] = nn.Linear(64, classes, bias=False)
        nn.init.uniform_(net[7].weight, -0.1, 0.1, generator=torch.Generator().manual_seed(1))
    for counts in ([3, 5, 0, 2, 1][:classes], [0, 8, 4, 0, 0][:classes], [1, 0, 0, 0, 0][:classes]):
        y = labels_of(counts)
        sent = as_gradient_list(net, site_update(net, pictures(len(y), 3), y, ONE_STEP))
        assert list(infer_label_counts(net, sent, len(y), pictures(64, 4))) == counts
    assert labels_of((2, 0, 1)).tolist() == [0, 0, 2]


def test_counts_add_up_whatever_the_gradient_says():
    net = smooth_net(3)
    noise = [
        torch.randn(one.shape, generator=torch.Generator().manual_seed(0)) * 5 for one in net.parameters()
    ]
    for count in (1, 7):
        found = infer_label_counts(net, noise, count, pictures(8))
        assert sum(found) == count
        assert min(found) >= 0
    with pytest.raises(SettingError, match="0 inputs"):
        infer_label_counts(net, noise, 2, pictures(8)[:0])


def test_one_logit_counts_two_classes():
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 1)).eval()
    nn.init.uniform_(net[1].weight, -0.1, 0.1, generator=torch.Generator().manual_seed(1))
    y = torch.tensor([1, 1, 1, 0])
    sent = as_gradient_list(net, site_update(net, pictures(4), y, ONE_STEP))
    assert infer_label_counts(net, sent, 4, pictures(32, 1)) == (1, 3)


# -- batches
# ------------------------------------------------------------------------------------------------------------


def test_the_true_batch_has_no_loss_in_any_order_within_its_labels():
    net, x, y = smooth_net(), pictures(4), torch.tensor([0, 0, 1, 1])
    sent = as_gradient_list(net, site_update(net, x, y, ONE_STEP))
    loss = GradientMatchingLoss(net, sent, y)
    assert loss(x).item() == pytest.approx(0, abs=1e-6)
    assert loss(x[[1, 0, 3, 2]]).item() == pytest.approx(0, abs=1e-6)
    assert loss(x[[2, 3, 0, 1]]).item() > 1e-3


def test_all_pictures_of_a_batch_are_rebuilt_together():
    net, x, y = smooth_net(), pictures(3), torch.tensor([0, 1, 1])
    found, loss = match_batch(
        net, site_update(net, x, y, ONE_STEP), SHAPE, 3, steps=300, like=pictures(32, 5)
    )
    assert loss < 1e-2
    assert found.shape == x.shape
    matched = match_pictures(found.numpy(), x.numpy())
    assert sorted(matched.guess_rows) == [0, 1, 2]
    assert matched.qualities.mean() > 20
    with pytest.raises(SettingError, match="restarts = 0"):
        match_batch(net, torch.ones(10), SHAPE, 2, restarts=0)
    assert probe_inputs(SHAPE, seed=1).shape == (64, *SHAPE)


def test_one_picture_is_what_the_function_finds_bit_for_bit():
    net, x, y = smooth_net(), pictures(1), torch.tensor([1])
    update = site_update(net, x, y, ONE_STEP)
    alone = invert_gradient(net, update, SHAPE, steps=20, seed=4)
    attack = GradientInversion(steps=20, tv_weights=(1e-4, 0.03))
    found = attack.guess(view(net, x, y), Knowledge(), wanted(1), budget=1, seed=4)
    assert torch.equal(found.images[0], alone.image)
    assert len(found.images) == 2
    with pytest.raises(SettingError, match="budget = 0"):
        attack.guess(view(net, x, y), Knowledge(), wanted(1), budget=0, seed=4)


# -- local steps
# ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("local", "sites"),
    [
        (LocalSteps(0.5, epochs=4), 1),
        (LocalSteps(0.5, batch_size=1, epochs=2), 1),
        (LocalSteps(0.5, epochs=3), 2),
    ],
    ids=["full batches", "batches in unknown orders", "a sum of two sites"],
)
def test_pictures_behind_local_steps_are_found_by_unrolling_them(local, sites):
    net, x, y = smooth_net(), pictures(2, 6), torch.tensor([0, 1])
    seen = view(net, x, y, local, sites)
    public = from_arrays(pictures(40, 7).numpy(), [0, 1] * 20)
    found = FedAvgInversion(steps=150, restarts=2, tv_weight=1e-4).guess(
        seen, Knowledge(public=public), wanted(2), budget=1, seed=0
    )
    floor = qualities(type(found)(images=pictures(40, 7)), x)
    assert (qualities(found, x) > floor + 3).all()


def test_what_several_steps_send_has_its_own_client_mode():
    assert not client_net(smooth_net().train(), ONE_STEP).training


# -- closed forms
# ------------------------------------------------------------------------------------------------------------


def test_a_normalization_before_the_dense_layer_is_undone():
    net = nn.Sequential(Normalize([0.4], [0.2]), *mlp(2, 1, 8)).eval()
    x, y = pictures(1), torch.tensor([1])
    found = DenseLayer().guess(view(net, x, y), Knowledge(), wanted(1), budget=1, seed=0)
    assert (found.images[0] - x[0]).abs().max() < 1e-5


def test_units_that_one_picture_alone_reaches_give_it_away():
    net, x = mlp(2, 1, 8, seed=2).eval(), pictures(4)
    found = DenseLayer().guess(
        view(net, x, torch.tensor([0, 1, 0, 1])), Knowledge(), wanted(4), budget=1, seed=0
    )
    assert len(found.images) > 4
    # what a unit gives alone is exact; the true gradients say which do
    hidden = (net[1](x.flatten(1)) > 0).sum(0)
    exact = int((qualities(found, x) > 60).sum())
    reached = (net[1](x.flatten(1)) > 0)[:, hidden == 1].any(1)
    assert exact == int(reached.sum())


def test_nets_whose_first_dense_layer_reads_no_pixels_are_refused():
    x, y = pictures(1), torch.tensor([0])
    for net in (
        xray_cnn(size=8).eval(),
        nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16, 2)).eval(),
    ):
        with pytest.raises(ModelError, match="does not read pixels"):
            DenseLayer().guess(view(net, x, y), Knowledge(), wanted(1), budget=1, seed=0)
    squared = nn.Sequential(Squares(), nn.Flatten(), nn.Linear(64, 2)).eval()
    with pytest.raises(ModelError, match="does not read pixels"):
        as_pixels(squared, squared[2], torch.rand(1, 64), SHAPE)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 2, bias=False)).eval()
    with pytest.raises(ModelError, match="no Linear layer with a bias"):
        DenseLayer().guess(view(net, x, y), Knowledge(), wanted(1), budget=1, seed=0)


class Squares(nn.Module):
    """It scales no pixel by a constant."""

    def forward(self, x):
        return x**2


def test_units_without_a_gradient_give_nothing():
    assert len(unit_inputs(torch.ones(3, 4), torch.tensor([1.0, 0.0, 1e-12]))) == 1


# -- the imprint layer
# ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sites", [1, 5])
def test_a_layer_in_front_of_any_net_reads_all_pictures(sites):
    net, x = xray_cnn(size=8).eval(), pictures(5, 8)
    public = from_arrays(pictures(400, 9).numpy(), [0, 1] * 200)
    seen = view(net, x, torch.arange(5) % 2, sites=sites, choose=True)
    found = ImprintLayer().guess(seen, Knowledge(public=public), wanted(5), budget=1, seed=0)
    alone = expected_alone(x, public)
    assert (qualities(found, x) > 34).sum() == alone
    assert alone >= 4


def expected_alone(x, public):
    """How many pictures have thresholds to both sides that no other one is between."""
    levels = torch.linspace(0, 1, 1026, dtype=torch.float64)[1:-1]
    bright = public.batch(range(400))[0].flatten(1).double().mean(1).quantile(levels)
    bins = torch.bucketize(x.flatten(1).double().mean(1), bright)
    return sum(int((bins == one).sum() == 1 and one > 0) for one in bins)


def test_two_pictures_between_the_same_thresholds_come_back_as_a_weighted_mean():
    net, x = mlp(2, 1, 8).double().eval(), pictures(2, 3).double()
    x[1] += x[0].mean() - x[1].mean()
    sent = imprint_in_front(net, torch.tensor([0.1, x[0].mean().item() + 0.2]), SHAPE, seed=0)
    update = site_update(sent, x, torch.tensor([0, 1]), ONE_STEP)
    found = read_imprint(update[:128].view(2, 64), update[128:130], SHAPE)
    each = [site_update(sent, x[i : i + 1], torch.tensor([i]), ONE_STEP)[128] for i in (0, 1)]
    mean = (each[0] * x[0] + each[1] * x[1]) / (each[0] + each[1])
    assert torch.allclose(found[0], mean.clamp(0, 1), atol=1e-9)


def test_an_imprint_needs_public_pictures_and_a_server_that_may_choose():
    net, x, y = xray_cnn(size=8).eval(), pictures(1), torch.tensor([0])
    public = from_arrays(pictures(40, 9).numpy(), [0, 1] * 20)
    with pytest.raises(SettingError, match="imprint-layer needs public"):
        ImprintLayer().guess(view(net, x, y, choose=True), Knowledge(), wanted(1), budget=1, seed=0)
    with pytest.raises(SettingError, match="honest but curious"):
        ImprintLayer().guess(view(net, x, y), Knowledge(public=public), wanted(1), budget=1, seed=0)
    with pytest.raises(SettingError, match="2 units"):
        ImprintLayer(units=1).guess(
            view(net, x, y, choose=True), Knowledge(public=public), wanted(1), budget=1, seed=0
        )


def test_large_pictures_get_fewer_units_and_flat_ones_rising_thresholds():
    sizes = []

    def refuse(sent):
        sizes.append(sum(one.numel() for one in sent[1].parameters()))

    shape = (3, 64, 64)
    flat = from_arrays(torch.full((4, *shape), 0.5).numpy(), [0, 1] * 2)
    seen = UpdateView(xray_cnn(2, 3, 64).eval(), refuse, choose=True)
    found = ImprintLayer(10_000).guess(seen, Knowledge(public=flat), wanted(1, shape), budget=2, seed=0)
    assert len(found.images) == 0
    assert sizes
    assert sizes[0] <= MAX_WEIGHTS + MAX_WEIGHTS // (3 * 64 * 64)


def test_a_planted_net_needs_two_dense_layers():
    with pytest.raises(ModelError, match="1 linear layers"):
        plant_imprint(nn.Sequential(nn.Linear(4, 2)), torch.tensor([0.1, 0.2]))


def test_psnr_of_the_judge_is_the_library_s():
    a, b = pictures(1, 1), pictures(1, 2)
    error = float((a - b).double().square().mean())
    assert match_pictures(a.numpy(), b.numpy()).qualities[0] == pytest.approx(psnr(error))
