"""Per-example gradients of every rule, against a loop over single examples."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from quintain.core.errors import PrivacyError
from quintain.dp.capture.hooks import Capture
from quintain.dp.per_example import cost_model, numerics
from tests.dp.support.singles import TIGHT, check_singles, clipped_sum, one_by_one, passes

pytestmark = pytest.mark.rounding


class Twice(nn.Module):
    """One layer used twice in a forward pass, on other shapes."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        once = self.layer(x).tanh()
        return self.layer(once).flatten(1).sum(1) + (once**3).flatten(1).sum(1)


class Turned(nn.Module):
    """A layer on an input that is not contiguous."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.transpose(1, 2))


class Products(nn.Module):
    """A bilinear layer on both halves of its input."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Bilinear(3, 2, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x[..., :3], x[..., 3:])


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
    "conv replicate": (lambda: nn.Conv2d(2, 3, 3, 1, 2, padding_mode="replicate"), (2, 4, 5)),
    "conv same, circular, even": (
        lambda: nn.Conv2d(2, 3, (4, 2), padding="same", padding_mode="circular"),
        (2, 6, 5),
    ),
    "conv same, dilated": (lambda: nn.Conv1d(2, 3, 4, padding="same", dilation=2), (2, 9)),
    "conv on lines": (lambda: nn.Conv1d(4, 6, 3, 2, 1, dilation=2, groups=2), (4, 11)),
    "conv on lines, reflect": (lambda: nn.Conv1d(2, 3, 3, padding=2, padding_mode="reflect"), (2, 7)),
    "conv on volumes": (
        lambda: nn.Conv3d(2, 3, (1, 2, 3), (1, 2, 1), (0, 1, 1), dilation=(1, 1, 2)),
        (2, 3, 4, 6),
    ),
    "conv on volumes, circular": (
        lambda: nn.Conv3d(1, 2, 2, padding=1, padding_mode="circular"),
        (1, 3, 3, 3),
    ),
    "conv of single pixels": (lambda: nn.Conv2d(9, 3, 1, 2), (9, 11, 11)),
    "conv of many channels and positions": (lambda: nn.Conv2d(8, 2, 3), (8, 14, 14)),
    "conv on what is not contiguous": (lambda: Turned(nn.Conv2d(2, 3, 3)), (5, 2, 5)),
    "transposed conv": (lambda: nn.ConvTranspose2d(3, 2, 3, 2, 1, output_padding=1), (3, 4, 3)),
    "transposed conv in groups, dilated": (
        lambda: nn.ConvTranspose2d(
            4, 6, (3, 2), (1, 2), (0, 1), output_padding=(2, 2), groups=2, dilation=(3, 3)
        ),
        (4, 3, 4),
    ),
    "transposed conv on lines": (
        lambda: nn.ConvTranspose1d(2, 3, 4, 3, 2, output_padding=2, bias=False),
        (2, 5),
    ),
    "transposed conv on volumes": (lambda: nn.ConvTranspose3d(2, 2, 2, 2, 1, output_padding=1), (2, 2, 3, 2)),
    "transposed conv on what is not contiguous": (lambda: Turned(nn.ConvTranspose2d(2, 3, 3)), (3, 2, 3)),
    "transposed conv, many positions": (lambda: nn.ConvTranspose2d(2, 8, 3, groups=2), (2, 5, 5)),
    "prelu": (nn.PReLU, (3, 4)),
    "prelu by channel": (lambda: nn.PReLU(3), (3, 4, 2)),
    "prelu on vectors": (lambda: nn.PReLU(4), (4,)),
    "bilinear": (Products, (5,)),
    "bilinear on a grid": (Products, (2, 3, 5)),
    "instance norm on lines": (lambda: nn.InstanceNorm1d(3, affine=True), (3, 6)),
    "instance norm": (lambda: nn.InstanceNorm2d(3, affine=True), (3, 4, 2)),
    "instance norm on volumes": (lambda: nn.InstanceNorm3d(2, affine=True, eps=0.1), (2, 2, 3, 2)),
    "rms norm": (lambda: nn.RMSNorm(6), (6,)),
    "rms norm over two dimensions, on a sequence": (lambda: nn.RMSNorm((3, 4), eps=0.1), (2, 3, 4)),
    "layer norm without bias": (lambda: nn.LayerNorm(6, bias=False), (6,)),
    "group norm on lines": (lambda: nn.GroupNorm(3, 6), (6, 5)),
    "group norm on volumes": (lambda: nn.GroupNorm(1, 2), (2, 2, 3, 2)),
    "group norm in five dimensions": (lambda: nn.GroupNorm(2, 4), (4, 2, 1, 2, 2)),
    "group norm on what is not contiguous": (lambda: Turned(nn.GroupNorm(2, 4)), (3, 4, 5)),
    "conv with few channels twice": (lambda: Twice(nn.Conv2d(2, 2, 3, 1, 1)), (2, 4, 4)),
    "transposed conv twice": (lambda: Twice(nn.ConvTranspose2d(2, 2, 3)), (2, 3, 3)),
    "instance norm twice": (lambda: Twice(nn.InstanceNorm1d(3, affine=True)), (3, 4)),
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
        lambda: nn.Sequential(
            nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.GroupNorm(1, 2), nn.Flatten(), nn.Linear(18, 2)
        ),
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
    return torch.randn(
        batch, *LAYERS[kind][1], generator=torch.Generator().manual_seed(batch), dtype=torch.float64
    )


@pytest.mark.parametrize("mean", [True, False])
@pytest.mark.parametrize("batch", [0, 1, 5])
@pytest.mark.parametrize("kind", LAYERS)
def test_norms_and_clipped_sums_are_those_of_single_examples(kind: str, batch: int, mean: bool) -> None:
    check_singles(build(kind), inputs(kind, batch), mean=mean)


CONVOLUTIONS = [kind for kind in LAYERS if "conv" in kind]


@pytest.mark.parametrize("ghost", [True, False])
@pytest.mark.parametrize("patches", [True, False])
@pytest.mark.parametrize("kept", [200, numerics.MAX_WORKING_SET])
@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_every_way_through_a_convolution_gives_the_same(
    kind: str, kept: int, patches: bool, ghost: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost_model, "ghost_norm_is_cheaper", lambda *_: ghost)
    monkeypatch.setattr(cost_model, "patches_are_cheaper", lambda *_: patches)
    monkeypatch.setattr("quintain.dp.per_example.numerics.MAX_WORKING_SET", kept)
    check_singles(build(kind), inputs(kind, 3), mean=True)


@pytest.mark.parametrize("frozen", ["weight", "bias"])
@pytest.mark.parametrize(
    "kind",
    [
        "linear",
        "linear on a sequence",
        "conv",
        "transposed conv",
        "instance norm",
        "group norm",
        "layer norm",
    ],
)
def test_a_frozen_half_does_not_count(kind: str, frozen: str) -> None:
    net, x = build(kind), inputs(kind, 3)
    getattr(net, frozen).requires_grad_(False)
    single = one_by_one(net, x)
    found = clipped_sum(passes(net, x, torch.mean)[0], torch.inf, mean=True)
    torch.testing.assert_close(
        found.norms, torch.stack([gradients[0].norm() for gradients in single]), **TIGHT
    )
    assert set(found.total) == {p for p in net.parameters() if p.requires_grad}


def test_large_layers_in_pieces_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = build("conv in groups, dilated"), inputs("conv in groups, dilated", 5)
    kept = clipped_sum(passes(net, x, torch.mean)[0], 1.0, mean=True)
    monkeypatch.setattr(numerics, "MAX_WORKING_SET", 200)
    pieces = clipped_sum(passes(net, x, torch.mean)[0], 1.0, mean=True)
    torch.testing.assert_close(kept.norms, pieces.norms, **TIGHT)
    for parameter in net.parameters():
        torch.testing.assert_close(kept.total[parameter], pieces.total[parameter], **TIGHT)


@pytest.mark.parametrize("ghost", [True, False])
def test_both_ways_to_a_norm_give_the_same(ghost: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost_model, "ghost_norm_is_cheaper", lambda *_: ghost)
    net, x = build("linear on a grid"), inputs("linear on a grid", 7)
    expected = torch.stack(
        [torch.cat([g.flatten() for g in gradients]).norm() for gradients in one_by_one(net, x)]
    )
    torch.testing.assert_close(
        clipped_sum(passes(net, x, torch.sum)[0], 0.5, mean=False).norms, expected, **TIGHT
    )


@pytest.mark.parametrize("ghost", [True, False])
@pytest.mark.parametrize("kept", [1, numerics.MAX_WORKING_SET])
@pytest.mark.parametrize("seed", range(5))
def test_positions_that_cancel_do_not_pass_the_bound(
    ghost: bool, kept: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost_model, "ghost_norm_is_cheaper", lambda *_: ghost)
    monkeypatch.setattr(numerics, "MAX_WORKING_SET", kept)
    generator = torch.Generator().manual_seed(seed)
    half = torch.rand(1, 64, 5, generator=generator) * 1e8
    x = torch.cat([half, half[:, torch.randperm(64, generator=generator)]], 1)
    net, signs = nn.Linear(5, 3, bias=False), torch.cat([torch.ones(64), -torch.ones(64)])[None, :, None]
    capture = Capture(net, on_pass_complete=lambda _pass: None)
    (net(torch.cat([x, torch.zeros_like(x)])) * signs * torch.tensor([0.3, -0.7, 0.9])).sum().backward()
    (total,) = clipped_sum(capture.pop_passes()[0], 1e-3, mean=False).total.values()
    assert float(total.double().norm()) <= 1e-3 * (1 + 1e-6)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(
        st.tuples(
            st.integers(4, 6), st.integers(1, 3), st.integers(1, 3), st.integers(0, 2), st.integers(1, 2)
        ),
        min_size=1,
        max_size=3,
    ),
    groups=st.integers(1, 2),
    batch=st.sampled_from([0, 1, 3]),
    transposed=st.booleans(),
)
def test_convolutions_of_any_shape(sizes, groups, batch, transposed) -> None:
    size, kernel, stride, padding, dilation = zip(*sizes, strict=True)
    if transposed:
        padding = tuple(min(p, d * (k - 1)) for p, d, k in zip(padding, dilation, kernel, strict=True))
        kind, more = (
            (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[len(size) - 1],
            {"output_padding": min(*stride, max(dilation)) - 1},
        )
    else:
        padding = tuple(max(p, d * (k - 1) - 3) for p, d, k in zip(padding, dilation, kernel, strict=True))
        kind, more = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[len(size) - 1], {}
    net = kind(2, 4, kernel, stride, padding, dilation=dilation, groups=groups, **more).double()
    check_singles(net, torch.randn(batch, 2, *size, dtype=torch.float64), mean=False)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.lists(st.integers(1, 4), min_size=0, max_size=4),
    inputs=st.integers(1, 6),
    outputs=st.integers(1, 4),
    batch=st.sampled_from([0, 1, 3]),
)
def test_linear_layers_of_any_shape(shape, inputs, outputs, batch) -> None:
    check_singles(
        nn.Linear(inputs, outputs).double(),
        torch.randn(batch, *shape, inputs, dtype=torch.float64),
        mean=True,
    )


@settings(max_examples=40, deadline=None)
@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    last=st.integers(1, 4),
    each=st.integers(2, 3),
    groups=st.integers(1, 3),
    batch=st.sampled_from([1, 3]),
)
def test_norms_of_any_shape(shape, last, each, groups, batch) -> None:
    last = min(last, len(shape))
    x = torch.randn(batch, groups * each, *shape, dtype=torch.float64)
    for net in (
        nn.GroupNorm(groups, groups * each),
        nn.LayerNorm(shape[-last:]),
        nn.RMSNorm(shape[-last:]),
        nn.PReLU(groups * each),
    ):
        check_singles(net.double(), x, mean=False)


@pytest.mark.parametrize(
    ("net", "shape"),
    [
        (nn.Conv2d(3, 3, 1), (3, 4, 4)),
        (nn.ConvTranspose1d(3, 3, 1), (3, 4)),
        (nn.InstanceNorm1d(3, affine=True), (3, 4)),
    ],
    ids=lambda case: type(case).__name__,
)
def test_inputs_without_a_batch_are_refused(net: nn.Module, shape: tuple[int, ...]) -> None:
    with pytest.raises(PrivacyError, match=r"got an input of shape \(3, 4"):
        passes(net, torch.randn(shape), torch.sum)


def test_running_statistics_of_a_trainable_instance_norm_are_refused() -> None:
    net = nn.Sequential(nn.InstanceNorm1d(3, affine=True, track_running_stats=True).eval())
    with pytest.raises(PrivacyError, match="keeps running statistics"):
        passes(net, torch.randn(2, 3, 4), torch.sum)


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
def test_records_at_the_end_of_the_number_range_are_clipped_too(
    scale: float, bound: float, positions: int
) -> None:
    for seed in range(5):
        net, generator = nn.Linear(50, 3), torch.Generator().manual_seed(seed)
        x = torch.rand(1, positions, 50, generator=generator) * scale
        capture = Capture(net, on_pass_complete=lambda _pass: None)
        (net(x) * torch.tensor([11.1, -27.0, 15.9])).sum().backward()
        total = clipped_sum(capture.pop_passes()[0], bound, mean=False).total
        assert float(torch.cat([g.flatten() for g in total.values()]).double().norm()) <= bound * (1 + 1e-6)
