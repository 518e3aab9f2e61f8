"""Per-example gradients beside a loop over single examples, for tests of many layers."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from quintain.dp.capture.captured_pass import CapturedPass
from quintain.dp.capture.hooks import Capture
from quintain.dp.step.clipped_sum import FloatClippedSum
from quintain.dp.step.clipping import FlatClipping
from quintain.dp.step.clipping_weights import clipping_weights

TIGHT = {"rtol": 1e-9, "atol": 1e-9}
EXACT = {"rtol": 1e-12, "atol": 1e-12}


class Found(NamedTuple):
    """What clipping gave."""

    total: dict[nn.Parameter, Tensor]
    norms: Tensor
    factors: Tensor


def built(net: nn.Module) -> nn.Module:
    """In float64, with random weights, biases included."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in net.double().parameters():
            parameter.normal_(0, 0.6, generator=generator)
    return net


def captured(net: nn.Module) -> Capture:
    return Capture(net, current_batch=lambda: 1, on_pass_complete=lambda _pass: None)


def losses(out: Tensor) -> Tensor:
    """One loss an example, curved, so that no gradient is a constant."""
    return (out.flatten(1) if out.dim() > 1 else out[:, None]).sin().sum(1) * 2


def passes(net: nn.Module, x: Tensor, loss) -> list[CapturedPass]:
    capture = captured(net)
    loss(losses(net(x))).backward()
    capture.remove()
    return capture.pop_passes()


def clipped_sum(turn: CapturedPass, bound: float, *, mean: bool) -> Found:
    sums = FloatClippedSum(list(turn.gradients))
    found, weights, clipped = clipping_weights(list(turn.gradients), turn, FlatClipping(bound), mean=mean)
    sums.add(found, weights)
    return Found(sums.by_parameter, clipped.norms, clipped.clip_factors)


def one_by_one(net: nn.Module, x: Tensor) -> list[list[Tensor]]:
    parameters = [p for p in net.parameters() if p.requires_grad]
    return [list(torch.autograd.grad(losses(net(x[i : i + 1])).sum(), parameters)) for i in range(len(x))]


def check_singles(net: nn.Module, x: Tensor, *, mean: bool) -> None:
    """Norms, and sums clipped at their median, are those of the plain module on one example at a time."""
    parameters = [p for p in net.parameters() if p.requires_grad]
    single = one_by_one(net, x)
    norms = torch.tensor(
        [sum(g.square().sum() for g in gradients).sqrt() for gradients in single], dtype=torch.float64
    )
    bound = (float(norms.median()) if len(x) else 0.0) or 1.0
    (turn,) = passes(net, x, torch.mean if mean else torch.sum)
    found = clipped_sum(turn, bound, mean=mean)
    torch.testing.assert_close(found.norms, norms, **TIGHT)
    assert set(found.total) == set(parameters)
    for k, parameter in enumerate(parameters):
        clipped = [
            torch.clamp(bound / n, max=1) * gradients[k] for n, gradients in zip(norms, single, strict=True)
        ]
        torch.testing.assert_close(found.total[parameter], sum(clipped, torch.zeros_like(parameter)), **TIGHT)
        assert parameter.grad is None
