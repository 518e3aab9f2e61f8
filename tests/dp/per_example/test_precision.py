"""The bound holds in whatever bits the model's passes run, since norms and sums are in all of float32's;
torch's settings stay.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from quintain.dp import PrivacyEngine
from quintain.models.precision import lowered_precision
from tests.dp.support.loops import refused

BOUND, WIDTH, POSITIONS = 1.0, 128, 128


class Cancelling(nn.Module):
    """A layer over positions, whose outputs count by the signs that come with each record."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.layer = (
            nn.Conv1d(WIDTH, WIDTH, 1, bias=False) if kind == "conv" else nn.Linear(WIDTH, WIDTH, bias=False)
        )

    def forward(self, x: Tensor, signs: Tensor) -> Tensor:
        out = self.layer(x.mT).mT if self.kind == "conv" else self.layer(x)
        return (out * signs).sum((1, 2))


def records(count: int) -> tuple[Tensor, Tensor]:
    """Inputs 3u and u with weights v and -3v: all are exact in any format, and cancel; a third of the clip
    factor is not.
    """
    generator = torch.Generator().manual_seed(1)
    inputs, signs = (
        torch.randint(-4, 5, (count, POSITIONS // 2, WIDTH), generator=generator).float() for _ in range(2)
    )
    return torch.cat([3 * inputs, inputs], 1), torch.cat([signs, -3 * signs], 1)


def added(kind: str, count: int, *, lower: str = "highest", autocast: bool = False) -> float:
    """Norm of what all records together add to the sum, without noise."""
    x, signs = records(count)
    net, engine = Cancelling(kind), PrivacyEngine(seed=0)
    net, optimizer, loader = engine.make_private(
        module=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=0.1),
        data_loader=DataLoader(TensorDataset(x, signs), batch_size=count),
        noise_multiplier=0.0,
        max_grad_norm=BOUND,
        loss_reduction="sum",
        allow_no_privacy=True,
    )
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(lower)
    try:
        settings = lowered_precision("cpu")
        assert bool(settings) is (lower == "medium")
        for rows, weights in loader:
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                net(rows, weights).float().sum().backward()
                optimizer.step()
            assert lowered_precision("cpu") == settings
            break
    finally:
        torch.set_float32_matmul_precision(before)
    return float(torch.cat([p.grad.flatten() for p in net.parameters()]).norm()) * count


@pytest.mark.parametrize("kind", ["linear", "conv"])
@pytest.mark.parametrize("way", ["plain", "medium", "autocast", "both"])
def test_a_record_with_cancelling_positions_adds_no_more_than_the_bound(kind: str, way: str) -> None:
    lower = "medium" if way in ("medium", "both") else "highest"
    total = added(kind, 1, lower=lower, autocast=way in ("autocast", "both"))
    assert total <= BOUND * (1 + 1e-6)


def test_settings_come_back_after_an_exception(private, monkeypatch: pytest.MonkeyPatch) -> None:
    net, optimizer, loader, _ = private(batch=20)
    x, y = next(iter(loader))
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    seen = []

    def fails(*_: object) -> None:
        seen.append(lowered_precision("cpu"))
        raise MemoryError

    try:
        settings = lowered_precision("cpu")
        F.cross_entropy(net(x), y).backward()
        monkeypatch.setattr(optimizer.private_step.sum.clipped, "add", fails)
        with pytest.raises(MemoryError):
            optimizer.step()
        assert lowered_precision("cpu") == settings
    finally:
        torch.set_float32_matmul_precision(before)
    assert seen == [()]
    assert settings


def test_passes_have_all_their_bits_or_are_refused(private) -> None:
    class Looks(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(lowered_precision("cpu"))
            out = super().forward(x)
            if out.requires_grad:
                out.register_hook(lambda _g: seen.append(lowered_precision("cpu")))
            return out

    seen: list = []
    net, optimizer, loader, engine = private(nn.Sequential(nn.Linear(6, 6), nn.ReLU(), Looks(6, 2)), batch=20)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        settings = lowered_precision("cpu")
        x, y = next(iter(loader))
        F.cross_entropy(net(x), y).backward()
        assert len(seen) > 1
        assert not any(seen)
        optimizer.step()
        loss = F.cross_entropy(net(x), y)
        with refused("backward pass runs while float32 products may have fewer bits.*switch it off"):
            torch.autograd.backward(loss)
        net.eval()
        with torch.no_grad():
            net(x)
        assert seen.pop() == settings == lowered_precision("cpu")
    finally:
        torch.set_float32_matmul_precision(before)
    assert settings
    assert engine.ledger.steps == 1


def test_a_setting_that_cannot_be_switched_off_is_refused(private, monkeypatch: pytest.MonkeyPatch) -> None:
    net, _, loader, engine = private(batch=20)
    x, y = next(iter(loader))
    monkeypatch.setenv("ONEDNN_DEFAULT_FPMATH_MODE", "BF16")
    with refused("ONEDNN_DEFAULT_FPMATH_MODE"):
        F.cross_entropy(net(x), y).backward()
    assert engine.ledger.steps == 0


class Sequence(nn.Module):
    """A layer of each kind whose gradients are worked out in a way of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 8)
        self.conv = nn.Conv1d(8, 8, 3, padding=1)
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm, self.group = nn.LayerNorm(8), nn.GroupNorm(2, 8)
        self.recur = nn.LSTM(8, 8, batch_first=True)
        self.last = nn.Linear(8, 2)

    def forward(self, ids: Tensor) -> Tensor:
        h = self.group(self.conv(self.embed(ids).mT)).mT
        h = self.norm(h + self.attend(h, h, h)[0])
        return self.last(self.recur(h)[0].mean(1))


@pytest.mark.parametrize("inside", [False, True])
def test_autocast_trains_every_kind_of_layer_close_to_float32(inside: bool) -> None:
    ids, labels = torch.arange(60).view(12, 5) * 3 % 7, torch.arange(12) % 2

    def gradient(autocast: bool) -> Tensor:
        torch.manual_seed(0)
        net = Sequence()
        net, optimizer, loader = PrivacyEngine(seed=0).make_private(
            module=net,
            optimizer=torch.optim.SGD(net.parameters(), lr=0.1),
            data_loader=DataLoader(TensorDataset(ids, labels), batch_size=12),
            noise_multiplier=0.0,
            max_grad_norm=0.1,
            allow_no_privacy=True,
        )
        ((x, y),) = loader
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = F.cross_entropy(net(x), y)
            if inside:
                loss.backward()
        if not inside:
            loss.backward()
        optimizer.step()
        return torch.cat([p.grad.flatten() for p in net.parameters()])

    plain, cast = gradient(False), gradient(True)
    assert cast.dtype == torch.float32
    assert not torch.equal(plain, cast)
    assert float((plain - cast).norm()) < 0.05 * float(plain.norm())
    assert float(cast.norm()) <= 0.1 * (1 + 1e-6)
