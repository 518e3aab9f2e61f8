"""The fake accelerator computes as the CPU does, and refuses to be mixed with it."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from quintain.testing import FAKE_DEVICE, FakeDeviceTensor, MixedDevicesError, fake_device, on_device

X = torch.linspace(0, 1, 24, dtype=torch.float64).reshape(4, 6)
Y = torch.tensor([0, 1, 2, 0])


def a_net() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double()


def trained(device: torch.device) -> list[torch.Tensor]:
    net, x, y = a_net().to(device), X.to(device), Y.to(device)
    optimizer = torch.optim.Adam(net.parameters())
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    return [parameter.detach() for parameter in net.parameters()]


def test_training_gives_what_it_gives_on_the_cpu() -> None:
    wanted = trained(torch.device("cpu"))
    with fake_device() as device:
        found = trained(device)
        assert {one.device for one in found} == {FAKE_DEVICE}
        assert all(torch.equal(one.cpu(), other) for one, other in zip(found, wanted, strict=True))


@pytest.mark.parametrize(
    "make",
    [
        lambda device: torch.zeros(2, device=device),
        lambda device: torch.tensor([1.0, 2.0], device=device),
        lambda device: torch.as_tensor(np.ones(2), device=device),
        lambda device: torch.arange(3, device=device),
        X.to,
        lambda device: X.to(device, torch.float32),
        lambda device: X.to(device).new_zeros(2),
        lambda device: X.to(device).new_tensor([1.0]),
        lambda device: torch.empty_like(X.to(device)),
        lambda device: torch.rand_like(X.to(device)),
        lambda device: X.to(device)[1:],
        lambda device: X.to(device)[torch.zeros(2, dtype=torch.long, device=device)],
        lambda device: X.to(device) + torch.tensor(0.5),
        lambda device: X.to(device).nonzero(),
        lambda device: copy.deepcopy(a_net().to(device))(X.to(device)),
    ],
)
def test_what_is_made_on_it_is_on_it(make) -> None:
    with fake_device() as device:
        assert make(device).device == FAKE_DEVICE
        assert isinstance(make(device), FakeDeviceTensor)


def test_what_is_made_on_the_cpu_is_on_the_cpu() -> None:
    with fake_device() as device:
        x = X.to(device)
        for plain in (
            torch.zeros(2),
            torch.zeros_like(x, device="cpu"),
            x.cpu(),
            x.to("cpu"),
            x.clone().cpu(),
        ):
            assert plain.device == torch.device("cpu")
            assert type(plain) is torch.Tensor
        assert x.tolist() == X.tolist()
        assert x[0, 1].item() == X[0, 1].item()
        assert float(x.sum()) == float(X.sum())


@pytest.mark.parametrize(
    "mix",
    [
        lambda x: x + torch.zeros(6),
        lambda x: torch.zeros(4, 6).add_(x),
        lambda x: x.add_(torch.zeros(6)),
        lambda x: x[torch.arange(2)],
        lambda x: torch.zeros(4, 6)[x.argmax(1)],
        lambda x: torch.where(x > 0, x, torch.zeros(6)),
        lambda x: torch.stack([x, torch.zeros(4, 6)]),
        lambda x: x @ torch.zeros(6, 2, dtype=x.dtype),
        a_net(),
        lambda x: nn.functional.cross_entropy(x, Y),
        lambda x: x.uniform_(generator=torch.Generator()),
    ],
)
def test_a_mixture_is_refused(mix) -> None:
    with fake_device() as device, pytest.raises(MixedDevicesError, match="of the CPU"):
        mix(X.to(device))


def test_writes_are_seen_through_views_and_copies_go_both_ways() -> None:
    with fake_device() as device:
        x, plain = X.to(device), torch.zeros(4, 6, dtype=torch.float64)
        x[:, 0] = 2
        x[1].clamp_(max=1)
        plain.copy_(x)
        assert plain[:, 0].tolist() == [2, 1, 2, 2]
        x.copy_(X)
        assert torch.equal(x.cpu(), X)
        assert X[0, 0] == 0


def test_gradients_of_examples_are_taken_as_on_the_cpu() -> None:
    def gradients(device: torch.device) -> torch.Tensor:
        net = a_net().to(device)
        weights = {name: one.detach() for name, one in net.named_parameters()}

        def loss(weights: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return nn.functional.cross_entropy(functional_call(net, weights, x[None]), y[None])

        return vmap(grad(loss), in_dims=(None, 0, 0))(weights, X.to(device), Y.to(device))["0.weight"]

    wanted = gradients(torch.device("cpu"))
    with fake_device() as device:
        found = gradients(device)
        assert found.device == FAKE_DEVICE
        assert torch.equal(found.cpu(), wanted)


def test_a_mixture_is_named_with_the_line_that_asked_for_it() -> None:
    def careless(x: torch.Tensor) -> torch.Tensor:
        return x * torch.ones(6)

    with (
        fake_device() as device,
        pytest.raises(AssertionError, match=r"test_fake_accelerator.py, line .*ones\(6\)"),
    ):
        on_device(careless, X.to(device))
