"""Models and losses that mix the examples of a batch are found at the first step; others are left as they
are.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from quintain.core.errors import PrivacyError
from quintain.dp.capture.watched_tensor import WatchedTensor

FINE = "no dependence found between examples"


class Mixed(nn.Module):
    """A net whose outputs are changed by a function of the whole batch."""

    def __init__(self, change) -> None:
        super().__init__()
        self.first, self.last, self.change = nn.Linear(6, 5), nn.Linear(5, 2), change

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.change(self.first(x)))


MIXING = {
    "centred": lambda h: h - h.mean(0),
    "summed along the batch": lambda h: h.cumsum(0),
    "attention over the batch": lambda h: (h @ h.mT).softmax(1) @ h,
    "shifted by one": lambda h: h.roll(1, 0),
    "scaled by its largest": lambda h: h / h.abs().max(),
    "batch statistics by hand": lambda h: F.batch_norm(h, None, None, training=True),
}


@pytest.mark.parametrize("name", MIXING)
def test_a_model_that_mixes_examples_is_found(private, name: str) -> None:
    net, _, loader, engine = private(Mixed(MIXING[name]), batch=20)
    x, _ = next(iter(loader))
    for _ in range(2):
        with pytest.raises(PrivacyError, match=r"output of one example depends on another.*'first"):
            net(x)
    assert engine.ledger.steps == 0


@pytest.mark.parametrize(
    "change", [torch.relu, lambda h: F.dropout(h, 0.5), lambda h: F.layer_norm(h, (5,)), lambda h: h.relu_()]
)
def test_a_model_that_does_not_is_left_as_it_is(private, change) -> None:
    nets = []
    for steps in (0, 1):
        torch.manual_seed(0)
        net, optimizer, loader, engine = private(Mixed(change), batch=20, noise_multiplier=0.0)
        if not steps:
            optimizer.private_step.probe.remove()
        x, y = next(iter(loader))
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
        nets.append((net.first.weight.detach(), torch.get_rng_state(), optimizer.examples_seen))
    assert engine.report.runs[0].mixing_probe.model == FINE
    assert all(torch.equal(one, other) for one, other in zip(nets[0][:2], nets[1][:2], strict=True))
    assert nets[0][2] == nets[1][2] == len(x)


class Normalizing(nn.Module):
    """A net that normalizes its input in place."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.sub_(0.5).div_(0.25))


@pytest.mark.parametrize("copied", [False, True])
def test_a_model_that_writes_into_its_input_is_probed_on_what_it_got(private, copied: bool) -> None:
    net, optimizer, loader, engine = private(Normalizing(), batch=20)
    x, y = next(iter(loader))
    F.cross_entropy(net(x.clone() if copied else x), y).backward()
    optimizer.step()
    probed = engine.report.runs[0].mixing_probe
    assert probed.model == probed.values == probed.rows == FINE


LOSSES = {
    "contrastive": (
        lambda out, y: F.cross_entropy(F.normalize(out) @ F.normalize(out).mT, torch.arange(len(out))),
        "loss mixes",
    ),
    "logarithm of a sum": (lambda out, y: out.exp().sum().log(), "loss mixes"),
    "norm of the batch": (lambda out, y: out.norm(), "loss mixes"),
    "centred": (lambda out, y: (out - out.mean(0)).square().mean(), "loss mixes"),
    "weighted by class": (
        lambda out, y: F.cross_entropy(out, y, weight=torch.tensor([1.0, 5.0])),
        "divides by the weights",
    ),
    "weighted by class, as a module": (
        nn.CrossEntropyLoss(torch.tensor([1.0, 5.0])),
        "divides by the weights",
    ),
    "labels ignored": (
        lambda out, y: F.nll_loss(out.log_softmax(1), y, ignore_index=1),
        "how many labels count",
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_that_mixes_examples_is_found(private, name: str) -> None:
    loss, message = LOSSES[name]
    net, optimizer, loader, engine = private(batch=20)
    x, y = next(iter(loader))
    for _ in range(2):
        with pytest.raises(PrivacyError, match=message):
            loss(net(x), y).backward()
    assert engine.ledger.steps == 0
    F.cross_entropy(net(x), y).backward()
    optimizer.zero_grad()
    F.cross_entropy(net(x), y).backward()
    optimizer.step()
    assert engine.report.runs[0].mixing_probe.loss == FINE


@pytest.mark.parametrize(
    "loss",
    [
        F.cross_entropy,
        lambda out, y: F.cross_entropy(out, y, weight=torch.tensor([1.0, 5.0]), reduction="none").mean(),
        lambda out, y: F.binary_cross_entropy_with_logits(out[:, 0], y.float()),
        lambda out, y: F.mse_loss(out, F.one_hot(y, 2).float()),
        lambda out, y: (
            sum(F.cross_entropy(row[None], label[None]) for row, label in zip(out, y, strict=True)) / len(y)
        ),
    ],
)
def test_a_loss_of_one_term_an_example_is_fine(private, loss) -> None:
    net, optimizer, loader, engine = private(batch=20)
    for x, y in loader:
        optimizer.zero_grad()
        out = net(x)
        assert type(out) is WatchedTensor
        loss(out, y).backward()
        optimizer.step()
    assert engine.report.runs[0].mixing_probe.loss == FINE
    assert engine.ledger.steps == 2


def test_what_cannot_be_asked_is_recorded_as_such(private) -> None:
    class Summed(Mixed):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).square().sum()

    net, optimizer, loader, engine = private(Summed(torch.relu), batch=20, loss_reduction="sum")
    net(next(iter(loader))[0]).backward()
    optimizer.step()
    assert engine.report.runs[0].mixing_probe.model.startswith("not probed")

    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.square().mean()

        @staticmethod
        @once_differentiable
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return 2 * g * x / x.numel()

    net, optimizer, loader, engine = private(batch=20)
    loss = Once.apply(net(next(iter(loader))[0]))
    assert engine.report.runs[0].mixing_probe.loss.startswith("not probed yet")
    loss.backward()
    optimizer.step()
    assert engine.report.runs[0].mixing_probe.model == FINE
    assert engine.report.runs[0].mixing_probe.loss.startswith("not checked: the loss is linear")

    net, optimizer, loader, engine = private(batch=20)
    x, y = next(iter(loader))
    torch.autograd.backward(F.cross_entropy(net(x), y))
    optimizer.step()
    assert engine.report.runs[0].mixing_probe.loss.startswith("not probed: no backward()")


def test_the_probe_leaves_no_grad_sample(private) -> None:
    net, _, loader, engine = private(batch=20, grad_sample_mode="hooks")
    net(next(iter(loader))[0])
    assert engine.report.runs[0].mixing_probe.model == FINE
    assert not any(getattr(parameter, "grad_sample", None) is not None for parameter in net.parameters())


def test_batches_of_one_are_passed_over_and_nested_outputs_are_seen(private) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(6, 2)

        def forward(self, x: Tensor):
            return {"logits": self.last(x), "parts": (x, [self.last(x).square()])}

    net, optimizer, loader, engine = private(Two(), batch=20)
    x, y = next(iter(loader))
    for part, label in ((x[:1], y[:1]), (x[1:], y[1:])):
        out = net(part)
        (F.cross_entropy(out["logits"], label) + out["parts"][1][0].mean()).backward()
    optimizer.step()
    assert (engine.report.runs[0].mixing_probe.model, engine.report.runs[0].mixing_probe.loss) == (FINE, FINE)
