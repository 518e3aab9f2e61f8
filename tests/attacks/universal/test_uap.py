import numpy as np
import pytest
import torch
from torch import Tensor, nn

from quintain.attacks import UAP, UniversalPerturbation, held_out, success_rate
from quintain.core.errors import DataError, ModelError, SettingError
from quintain.data import from_arrays
from quintain.data.dataset import Dataset
from quintain.threats import L1, L2, Linf, Mask, Threat, contains

THREATS = [Linf(0.15), L2(1.2), Mask("border", 0.4)]
CENTRES = np.random.default_rng(5).uniform(0.3, 0.7, (3, 64)).astype(np.float32)


def pictures(count: int, seed: int) -> Dataset:
    """Three kinds of noise, each round a pattern of its own."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    images = np.clip(CENTRES[labels] + generator.normal(0, 0.08, (count, 64)), 0, 1)
    images[generator.random(images.shape) < 0.1] = 0
    return from_arrays(images.reshape(count, 1, 8, 8).astype(np.float32), labels, name=f"noise {seed}")


@pytest.fixture(scope="module")
def net() -> nn.Module:
    """The nearest pattern."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    with torch.no_grad():
        centers = torch.from_numpy(CENTRES)
        net[1].weight.copy_(8 * centers)
        net[1].bias.copy_(-4 * centers.square().sum(1))
    return net.eval().requires_grad_(False)


FIT, HELD_OUT = pictures(120, 0), pictures(150, 1)
QUICK = UAP(steps=40, batch_size=20)


@pytest.mark.parametrize("threat", THREATS, ids=lambda threat: threat.spec)
@pytest.mark.parametrize("target", [None, 2])
def test_on_held_out_pictures_it_beats_random_changes_of_its_size(
    net: nn.Module, threat: Threat, target: int | None
) -> None:
    change = QUICK.fit(net, FIT, threat, target=target)
    found, random = (
        success_rate(net, HELD_OUT, one, target=target) for one in (change, change.random_control(seed=3))
    )
    assert found.examples == 150
    assert found.eligible == random.eligible > 50
    assert found.rate > 0.25
    assert found.rate > random.rate + 0.2
    low, high = found.interval(0.95)
    assert low <= found.rate <= high
    assert found.successes <= found.fooled


@pytest.mark.parametrize("threat", THREATS, ids=lambda threat: threat.spec)
def test_applied_it_is_inside_the_threat_exactly(net: nn.Module, threat: Threat) -> None:
    change = UAP(steps=5).fit(net, FIT, threat)
    x, _ = HELD_OUT.batch(range(60))
    for one in (change, change.random_control()):
        changed = one.apply(x)
        assert contains(threat, changed, x).all()
        assert (changed != x).flatten(1).any(1).all()


def test_in_linf_the_control_goes_up_or_down_by_eps_everywhere() -> None:
    change = UniversalPerturbation(torch.zeros(1, 8, 8), Linf(0.08))
    assert torch.allclose(change.random_control(1).perturbation.abs(), torch.full((1, 8, 8), 0.08))
    assert torch.equal(change.random_control(1).perturbation, change.random_control(1).perturbation)
    assert not torch.equal(change.random_control(1).perturbation, change.random_control(2).perturbation)
    assert torch.allclose(
        UniversalPerturbation(torch.zeros(1, 8, 8), L2(0.5)).random_control().perturbation.norm(),
        torch.tensor(0.5),
    )


def test_it_keeps_the_optimum_of_a_linear_model(net: nn.Module) -> None:
    slope = net[1].weight[1] - net[1].weight[0]
    data = from_arrays(np.full((9, 1, 8, 8), 0.5, np.float32), np.zeros(9, int), num_classes=2)
    for threat, best in ((Linf(0.1), 0.1 * slope.sign()), (L2(0.5), 0.5 * slope / slope.norm())):
        change = (
            UAP(steps=30)
            .fit(
                lambda z: torch.stack([0 * z.flatten(1) @ slope, (z.flatten(1) - 0.5) @ slope], 1),
                data,
                threat,
            )
            .perturbation
        )
        assert torch.allclose(change.flatten(), best, atol=1e-4)


def test_the_seed_fixes_it_and_the_model_is_left_alone(net: nn.Module) -> None:
    before = [weight.clone() for weight in net.parameters()]
    first, again, other = (
        UAP(steps=10).fit(net, FIT, Linf(0.05), seed=seed).perturbation for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert all(
        torch.equal(weight, old) and weight.grad is None
        for weight, old in zip(net.parameters(), before, strict=True)
    )


def test_pictures_that_it_was_fitted_on_are_refused_wherever_they_stand(net: nn.Module) -> None:
    change = UAP(steps=2).fit(net, FIT, Linf(0.05))
    seen, labels = FIT.batch([17])
    others, more = HELD_OUT.batch(range(20))
    mixed = from_arrays(torch.cat((others, seen)).numpy(), torch.cat((more, labels)).numpy(), name="mixed")
    with pytest.raises(DataError, match=r"fitted on 1 of the images 0 to 20 of mixed.*held_out"):
        success_rate(net, mixed, change)
    rest = held_out(mixed, change)
    assert torch.equal(rest.batch(range(20))[0], others)
    assert success_rate(net, rest, change).examples == len(rest) == 20
    with pytest.raises(DataError, match="fitted on all 120 images"):
        held_out(FIT, change)
    assert success_rate(net, FIT, change.random_control()).examples == 120


def test_batches_change_no_score(net: nn.Module) -> None:
    change = UAP(steps=10).fit(net, FIT, Linf(0.08))
    assert success_rate(net, HELD_OUT, change, batch_size=150) == success_rate(
        net, HELD_OUT, change, batch_size=7
    )


def test_what_is_right_and_of_another_class_is_eligible() -> None:
    data = from_arrays(np.array([[0.0], [0.2], [0.9], [0.95]], np.float32), [0, 1, 1, 0], num_classes=2)

    def above_half(z: Tensor) -> Tensor:
        return torch.cat([0.5 - z, z - 0.5], 1)

    change = UniversalPerturbation(torch.tensor([0.6]), Linf(0.6))
    found = success_rate(above_half, data, change)
    assert (found.examples, found.eligible, found.fooled, found.successes) == (4, 2, 1, 1)
    assert success_rate(above_half, data, change, target=1).eligible == 1
    assert success_rate(above_half, data, change, target=1).rate == 1
    with pytest.raises(DataError, match="a success rate is not defined"):
        success_rate(lambda z: above_half(z).flip(1), data.subset([0, 2]), change)


def test_what_cannot_be_is_refused(net: nn.Module) -> None:
    with pytest.raises(SettingError, match=r"uap does not support the threat l1.*it supports linf, l2, mask"):
        UAP().fit(net, FIT, L1(1.0))
    with pytest.raises(SettingError, match="target = 7"):
        UAP().fit(net, FIT, Linf(0.1), target=7)
    with pytest.raises(SettingError, match="target = 7"):
        success_rate(net, HELD_OUT, UniversalPerturbation(torch.zeros(1, 8, 8), Linf(0.1)), target=7)
    with pytest.raises(DataError, match="all 40 images"):
        UAP().fit(net, FIT.subset(np.flatnonzero(FIT.labels == 1)), Linf(0.1), target=1)
    with pytest.raises(ModelError, match="training mode"):
        UAP().fit(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), FIT, Linf(0.1))
    with pytest.raises(DataError, match="expected"):
        UniversalPerturbation(torch.zeros(1, 8, 8), Linf(0.1)).apply(torch.zeros(2, 1, 9, 9))
    for name in ("steps", "batch_size", "rel_step_size"):
        with pytest.raises(SettingError, match=f"{name} = 0"):
            UAP(**{name: 0})
