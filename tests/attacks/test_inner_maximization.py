import pytest
import torch
from torch import nn

from quintain.attacks import maximize_loss
from quintain.losses import cross_entropy, margin
from quintain.testing import batch_invariant_net, best_linear_gain, random_inputs
from quintain.threats import L2, Linf, contains

THREATS = [Linf(0.1), L2(0.4)]


@pytest.mark.parametrize("threat", THREATS)
def test_it_reaches_the_optimum_of_a_linear_model(threat: Linf | L2) -> None:
    x = random_inputs(8, 30)
    w = torch.randn(30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z = maximize_loss(
        lambda z: torch.stack([0 * (z @ w), z @ w], 1),
        x,
        torch.zeros(8, dtype=torch.long),
        threat,
        steps=20,
        rel_step_size=2.0,
        seed=0,
    )
    assert contains(threat, z, x).all()
    assert ((z - x) @ w >= 0.99 * best_linear_gain(threat, w, x)).all()


@pytest.mark.parametrize("threat", THREATS)
def test_it_goes_on_after_the_break(threat: Linf | L2) -> None:
    x = random_inputs(20, 12, seed=1)
    model = batch_invariant_net(12, 3, seed=2)
    y = (model(x).argmax(1) + 1) % 3
    z = maximize_loss(model, x, y, threat, steps=10, rel_step_size=1.0, seed=0)
    assert (cross_entropy(model(z), y) > cross_entropy(model(x), y)).all()
    assert (margin(model(z), y) > margin(model(x), y)).all()


def test_starts_belong_to_the_examples() -> None:
    x = random_inputs(6, 5)
    model = batch_invariant_net(5, 2)
    y, ids = torch.zeros(6, dtype=torch.long), torch.tensor([9, 4, 1, 7, 3, 0])
    whole = maximize_loss(model, x, y, Linf(0.2), steps=3, rel_step_size=0.5, seed=1, ids=ids)
    back = maximize_loss(model, x.flip(0), y, Linf(0.2), steps=3, rel_step_size=0.5, seed=1, ids=ids.flip(0))
    assert torch.equal(back.flip(0), whole)
    assert not torch.equal(
        maximize_loss(model, x, y, Linf(0.2), steps=3, rel_step_size=0.5, seed=2, ids=ids), whole
    )


def test_the_net_in_training_is_left_as_it_is() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2)).train()
    x = random_inputs(6, 5, dtype=torch.float32)
    z = maximize_loss(net, x, torch.zeros(6, dtype=torch.long), Linf(0.2), steps=2, rel_step_size=0.5, seed=1)
    assert net.training
    assert all(weight.grad is None and weight.requires_grad for weight in net.parameters())
    assert not z.requires_grad
    nn.functional.cross_entropy(net(z), torch.zeros(6, dtype=torch.long)).backward()
    assert all(weight.grad is not None for weight in net.parameters())
