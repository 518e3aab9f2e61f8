"""Per-example gradients of every rule, against a loop over single examples."""

from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from quintain.dp import cost, forms
from quintain.dp.capture import Capture, Pass
from quintain.dp.clipping import Clipped, Flat, clip_into

TIGHT = {"rtol": 1e-9, "atol": 1e-9}


class Twice(nn.Module):
    """One layer used twice in a forward pass, on other shapes."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        once = self.layer(x).tanh()
        return self.layer(once).flatten(1).sum(1) + (once**3).flatten(1).sum(1)


LAYERS = {
    "linear": (lambda: nn.Linear(5, 3), (5,)),
    "linear without bias": (lambda: nn.Linear(5, 3, bias=False), (5,)),
    "linear on a sequence": (lambda: nn.Linear(5, 3), (4, 5)),
    "linear on a grid": (lambda: nn.Linear(5, 3), (2, 3, 5)),
    "conv": (lambda: nn.Conv2d(2, 4, 3, 2, 1), (2, 7, 6)),
    "conv without bias": (lambda: nn.Conv2d(2, 4, (3, 2), (1, 2), bias=False), (2, 6, 6)),
    "conv in groups, dilated": (lambda: nn.Conv2d(4, 6, 3, 2, (2, 1), dilation=2, groups=2), (4, 9, 8)),
    "conv, depth by depth": (lambda: nn.Conv2d(3, 6, 3, groups=3), (3, 5, 5)),
    "conv to one position": (lambda: nn.Conv2d(2, 3, 4), (2, 4, 4)),
    "conv same": (lambda: nn.Conv2d(2, 3, (4, 3), padding="same"), (2, 6, 6)),
    "conv valid": (lambda: nn.Conv2d(2, 3, 3, padding="valid"), (2, 6, 6)),
    "conv circular": (lambda: nn.Conv2d(2, 3, 3, 2, 2, padding_mode="circular"), (2, 6, 5)),
    "conv reflect": (lambda: nn.Conv2d(2, 3, 3, 1, 1, padding_mode="reflect"), (2, 5, 5)),
    "group norm": (lambda: nn.GroupNorm(2, 4), (4, 3, 5)),
    "group norm on vectors": (lambda: nn.GroupNorm(2, 6), (6,)),
    "layer norm": (lambda: nn.LayerNorm(6), (6,)),
    "layer norm on a sequence, without bias": (lambda: nn.LayerNorm(6, bias=False), (4, 6)),
    "layer norm over two dimensions": (lambda: nn.LayerNorm((3, 4)), (2, 3, 4)),
    "linear twice": (lambda: Twice(nn.Linear(5, 5)), (5,)),
    "linear twice on a sequence": (lambda: Twice(nn.Linear(5, 5)), (3, 5)),
    "conv twice": (lambda: Twice(nn.Conv2d(2, 2, 3, 2, 1)), (2, 8, 8)),
    "group norm twice": (lambda: Twice(nn.GroupNorm(1, 3)), (3, 4)),
    "deep": (
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.GroupNorm(1, 2), nn.Flatten(), nn.Linear(18, 2)),
        (1, 5, 5),
    ),
}


def build(kind: str) -> nn.Module:
    """A float64 layer with random weights, the scales of norms included."""
    generator = torch.Generator().manual_seed(5)
    net = LAYERS[kind][0]().double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(0, 0.7, generator=generator)
    return net


def inputs(kind: str, batch: int) -> Tensor:
    return torch.randn(batch, *LAYERS[kind][1], generator=torch.Generator().manual_seed(batch), dtype=torch.float64)


def losses(out: Tensor) -> Tensor:
    """One loss an example, curved, so that no gradient is a constant."""
    return (out.flatten(1) if out.dim() > 1 else out[:, None]).sin().sum(1) * 2


def passes(net: nn.Module, x: Tensor, loss) -> list[Pass]:
    capture = Capture(net, drawn=lambda: 1, finished=lambda _pass: None)
    loss(losses(net(x))).backward()
    capture.remove()
    return capture.take()


class Found(NamedTuple):
    """What clipping gave."""

    total: dict[nn.Parameter, Tensor]
    norms: Tensor
    factors: Tensor


def clipped_sum(turn: Pass, bound: float, *, mean: bool) -> Found:
    total = {parameter: torch.zeros_like(parameter) for parameter in turn.gradients}
    clipped: Clipped = clip_into(total, turn, Flat(bound), mean=mean)
    return Found(total, clipped.norms, clipped.factors)


def one_by_one(net: nn.Module, x: Tensor) -> list[list[Tensor]]:
    parameters = [p for p in net.parameters() if p.requires_grad]
    return [list(torch.autograd.grad(losses(net(x[i : i + 1])).sum(), parameters)) for i in range(len(x))]


@pytest.mark.parametrize("mean", [True, False])
@pytest.mark.parametrize("batch", [0, 1, 5])
@pytest.mark.parametrize("kind", LAYERS)
def test_norms_and_clipped_sums_are_those_of_single_examples(kind: str, batch: int, mean: bool) -> None:
    net, x = build(kind), inputs(kind, batch)
    single = one_by_one(net, x)
    norms = torch.tensor([sum(g.square().sum() for g in gradients).sqrt() for gradients in single], dtype=torch.float64)
    bound = float(norms.median()) if batch else 1.0
    expected = [
        sum((torch.clamp(bound / n, max=1) * gradients[k] for n, gradients in zip(norms, single, strict=True)), torch.zeros_like(p))
        for k, p in enumerate(net.parameters())
    ]
    (turn,) = passes(net, x, torch.mean if mean else torch.sum)
    found = clipped_sum(turn, bound, mean=mean)
    torch.testing.assert_close(found.norms, norms, **TIGHT)
    for parameter, total in zip(net.parameters(), expected, strict=True):
        torch.testing.assert_close(found.total[parameter], total, **TIGHT)
        assert parameter.grad is None


@pytest.mark.parametrize("frozen", ["weight", "bias"])
@pytest.mark.parametrize("kind", ["linear", "linear on a sequence", "conv", "group norm", "layer norm"])
def test_a_frozen_half_does_not_count(kind: str, frozen: str) -> None:
    net, x = build(kind), inputs(kind, 3)
    getattr(net, frozen).requires_grad_(False)
    single = one_by_one(net, x)
    found = clipped_sum(passes(net, x, torch.mean)[0], torch.inf, mean=True)
    torch.testing.assert_close(found.norms, torch.stack([gradients[0].norm() for gradients in single]), **TIGHT)
    assert set(found.total) == {p for p in net.parameters() if p.requires_grad}


def test_large_layers_in_pieces_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = build("conv in groups, dilated"), inputs("conv in groups, dilated", 5)
    kept = clipped_sum(passes(net, x, torch.mean)[0], 1.0, mean=True)
    monkeypatch.setattr(forms, "KEPT", 200)
    pieces = clipped_sum(passes(net, x, torch.mean)[0], 1.0, mean=True)
    torch.testing.assert_close(kept.norms, pieces.norms, **TIGHT)
    for parameter in net.parameters():
        torch.testing.assert_close(kept.total[parameter], pieces.total[parameter], **TIGHT)


@pytest.mark.parametrize("ghost", [True, False])
def test_both_ways_to_a_norm_give_the_same(ghost: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "ghost", lambda *_: ghost)
    net, x = build("linear on a grid"), inputs("linear on a grid", 7)
    expected = torch.stack([torch.cat([g.flatten() for g in gradients]).norm() for gradients in one_by_one(net, x)])
    torch.testing.assert_close(clipped_sum(passes(net, x, torch.sum)[0], 0.5, mean=False).norms, expected, **TIGHT)


@pytest.mark.parametrize("ghost", [True, False])
@pytest.mark.parametrize("kept", [1, forms.KEPT])
@pytest.mark.parametrize("seed", range(5))
def test_positions_that_cancel_do_not_pass_the_bound(ghost: bool, kept: int, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "ghost", lambda *_: ghost)
    monkeypatch.setattr(forms, "KEPT", kept)
    generator = torch.Generator().manual_seed(seed)
    half = torch.rand(1, 64, 5, generator=generator) * 1e8
    x = torch.cat([half, half[:, torch.randperm(64, generator=generator)]], 1)
    net, signs = nn.Linear(5, 3, bias=False), torch.cat([torch.ones(64), -torch.ones(64)])[None, :, None]
    capture = Capture(net, drawn=lambda: 1, finished=lambda _pass: None)
    (net(torch.cat([x, torch.zeros_like(x)])) * signs * torch.tensor([0.3, -0.7, 0.9])).sum().backward()
    (total,) = clipped_sum(capture.take()[0], 1e-3, mean=False).total.values()
    assert float(total.double().norm()) <= 1e-3 * (1 + 1e-6)


@settings(max_examples=40, deadline=None)
@given(
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    groups=st.integers(1, 2),
    batch=st.integers(1, 3),
)
def test_convolutions_of_any_shape(kernel, stride, padding, dilation, groups, batch) -> None:
    net = nn.Conv2d(2, 4, kernel, stride, padding, dilation, groups).double()
    x = torch.randn(batch, 2, 6, 5, dtype=torch.float64)
    norms = torch.stack([torch.cat([g.flatten() for g in gradients]).norm() for gradients in one_by_one(net, x)])
    torch.testing.assert_close(clipped_sum(passes(net, x, torch.sum)[0], 1.0, mean=False).norms, norms, **TIGHT)


@pytest.mark.parametrize("padding", [None, 2])
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_embeddings_add_repeated_ids_before_the_norm(batch: int, padding: int | None) -> None:
    net = nn.Sequential(nn.Embedding(5, 3, padding_idx=padding), nn.Flatten(), nn.Linear(12, 2)).double()
    ids = torch.tensor([[0, 2, 2, 1], [4, 4, 4, 4], [2, 3, 2, 3]])[:batch]
    single = one_by_one(net, ids)
    found = clipped_sum(passes(net, ids, torch.mean)[0], torch.inf, mean=True)
    assert found.norms.tolist() == pytest.approx([float(torch.cat([g.flatten() for g in gs]).norm()) for gs in single], rel=1e-9)
    table = sum((gs[0] for gs in single), torch.zeros(5, 3, dtype=torch.float64))
    torch.testing.assert_close(found.total[net[0].weight], table, **TIGHT)


@pytest.mark.parametrize("kind", ["linear", "conv", "group norm", "linear on a sequence"])
def test_an_example_that_is_not_finite_is_left_out(kind: str) -> None:
    net, x = build(kind), inputs(kind, 4)
    without = clipped_sum(passes(net, x[1:], torch.sum)[0], 0.5, mean=False)
    x[0] = torch.nan
    found = clipped_sum(passes(net, x, torch.sum)[0], 0.5, mean=False)
    assert found.factors[0] == 0
    for parameter in net.parameters():
        torch.testing.assert_close(found.total[parameter], without.total[parameter], **TIGHT)


@settings(max_examples=60, deadline=None)
@given(scale=st.floats(1e-12, 1e12), bound=st.floats(1e-3, 1e3))
def test_a_clipped_gradient_is_never_longer_than_the_bound(scale: float, bound: float) -> None:
    net = nn.Sequential(nn.Linear(7, 40), nn.Linear(40, 1))
    x = torch.randn(1, 7) * scale
    total = clipped_sum(passes(net, x, torch.sum)[0], bound, mean=False).total
    assert float(torch.cat([g.flatten() for g in total.values()]).double().norm()) <= bound * (1 + 1e-6)


@pytest.mark.parametrize("positions", [1, 2])
@pytest.mark.parametrize("scale", [1e30, 1e36, 1e37, 3e38])
@pytest.mark.parametrize("bound", [1.0, 1e-3])
def test_records_at_the_end_of_the_number_range_are_clipped_too(scale: float, bound: float, positions: int) -> None:
    for seed in range(5):
        net, generator = nn.Linear(50, 3), torch.Generator().manual_seed(seed)
        x = torch.rand(1, positions, 50, generator=generator) * scale
        capture = Capture(net, drawn=lambda: 1, finished=lambda _pass: None)
        (net(x) * torch.tensor([11.1, -27.0, 15.9])).sum().backward()
        total = clipped_sum(capture.take()[0], bound, mean=False).total
        assert float(torch.cat([g.flatten() for g in total.values()]).double().norm()) <= bound * (1 + 1e-6)
