"""What a pass writes into the module, by whatever way, is refused by name before the next step; what changes
nothing is left alone.
"""

import math
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quintain.dp.guards.reachable_tensors import MAX_SMALL_TENSOR
from quintain.dp.guards.spot_checks import DRAWN_AHEAD, FIRST_PASSES, ONE_IN, SpotChecks
from quintain.dp.randomness.stream import RandomStream
from quintain.dp.training.lora import add_lora
from tests.dp.support.loops import refused, step


@dataclass(slots=True)
class Slot:
    sum: Tensor


class Net(nn.Module):
    """Runs ``write(self, x)`` in each pass."""

    def __init__(self, write, size: int = 6) -> None:
        super().__init__()
        self.layer, self.frozen, self.write = nn.Linear(6, 2), nn.Linear(6, 6).requires_grad_(False), write
        self.register_buffer("kept", torch.ones(size))
        self.table, self.notes = torch.ones(size), [torch.ones(6)]
        self.register_buffer("sparse", torch.eye(6).to_sparse())
        self.records = np.zeros(3, dtype=[("sum", "f4"), ("name", "U4")])
        self.box, self.array = (
            SimpleNamespace(sum=torch.ones(6), inner=[Slot(torch.ones(6))]),
            torch.ones(6).numpy(),
        )

    def forward(self, x: Tensor) -> Tensor:
        self.write(self, x.detach())
        return self.layer(self.frozen(x))


@torch.no_grad()
def _init(net: Net, x: Tensor) -> None:
    net.layer.bias.copy_(x.mean(0)[:2])


def _set(name: str, value) -> None:
    return lambda net, x: setattr(net, name, value(x))


WAYS = {
    "a buffer's data": (lambda net, x: net.kept.data.mul_(x.sum()), "buffer 'kept'"),
    "a buffer as an array": (
        lambda net, x: net.kept.numpy().__setitem__(slice(6), x.sum(0)),
        "buffer 'kept'",
    ),
    "one number of it": (lambda net, x: net.kept.data[:1].add_(1e-6 + x.new_zeros(())), "buffer 'kept'"),
    "a frozen parameter": (lambda net, x: net.frozen.weight.data.add_(x.mean()), "parameter 'frozen.weight'"),
    "a trainable one, data": (lambda net, x: net.layer.bias.data.add_(x.mean()), "parameter 'layer.bias'"),
    "a trainable one, no_grad": (_init, "parameter 'layer.bias'"),
    "an attribute": (_set("table", lambda x: x.sum(0)), "attribute 'table'"),
    "a new attribute": (_set("fresh", lambda x: x), "attribute 'fresh'"),
    "a list": (lambda net, x: net.notes.append(x), "attribute 'notes.1'"),
    "a tensor in a list": (lambda net, x: net.notes[0].data.add_(x.sum(0)), "attribute 'notes.0'"),
    "an object": (lambda net, x: setattr(net.box, "sum", x.sum(0)), "attribute 'box.sum'"),
    "an object in an object": (
        lambda net, x: net.box.inner[0].sum.data.add_(x.sum(0)),
        "attribute 'box.inner.0.sum'",
    ),
    "a sparse buffer": (lambda net, x: net.sparse._values().add_(x.sum()), "attribute 'sparse.values'"),
    "an array": (lambda net, x: net.array.__setitem__(slice(6), x.sum(0)), "attribute 'array'"),
    "an array of objects": (
        _set("held", lambda x: np.array([x.sum(0), None], dtype=object)),
        "attribute 'held.0'",
    ),
    "an array of records": (
        lambda net, x: net.records["sum"].__setitem__(0, float(x.sum())),
        "attribute 'records'",
    ),
    "an array of words": (_set("held", lambda x: np.array([str(float(x.sum()))])), "attribute 'held'"),
    "a read-only array": (
        _set("held", lambda x: np.frombuffer(x.sum(0).numpy().tobytes(), dtype=np.float32)),
        "attribute 'held'",
    ),
    "an argument given beforehand": (
        _set("held", lambda x: partial(torch.add, x.sum(0))),
        "attribute 'held.1'",
    ),
    "what a function closes over": (_set("held", lambda x: lambda: x), "attribute 'held.0'"),
    "a function's default": (_set("held", lambda x: lambda given=x: given), "attribute 'held.0'"),
    "one that goes": (lambda net, x: vars(net).pop("table", None), "attribute 'table'"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [6, MAX_SMALL_TENSOR + 2])
def test_whatever_a_pass_writes_is_refused_by_name(private, way: str, size: int) -> None:
    write, message = WAYS[way]
    net, optimizer, loader, engine = private(Net(write, size), batch=20)
    x, y = next(iter(loader))
    for _ in range(2):
        with refused(f"{message}.* was written by a pass.*make_private again"):
            step(net, optimizer, x, y)
    assert engine.ledger.steps == 0


def test_what_fails_or_runs_in_evaluation_mode_or_backward_is_seen_too(private) -> None:
    def fails(net: Net, x: Tensor) -> None:
        net.kept.data += x.sum(0)
        raise ValueError("no more")

    net, optimizer, loader, engine = private(Net(fails), batch=20)
    x, y = next(iter(loader))
    with pytest.raises(ValueError, match="no more"):
        net(x)
    net.write = lambda _net, _x: None
    with refused("buffer 'kept' was written"):
        step(net, optimizer, x, y)

    net, optimizer, loader, engine = private(Net(WAYS["a buffer's data"][0]), batch=20)
    net.eval()
    with refused("buffer 'kept' was written"):
        net(x)
    with torch.no_grad():
        net(x)

    net, optimizer, loader, engine = private(Net(lambda _net, _x: None), batch=20)
    x, y = next(iter(loader))
    out = net(x)
    out.register_hook(lambda g: setattr(net.kept, "data", net.kept.data + g.abs().sum()))
    F.cross_entropy(out, y).backward()
    with refused("buffer 'kept' was written"):
        optimizer.step()
    assert engine.ledger.steps == 0


def test_large_tensors_are_looked_at_closely_again_and_again(private) -> None:
    def late(net: Net, x: Tensor) -> None:
        net.passes = getattr(net, "passes", 0) + 1
        if net.passes > FIRST_PASSES:
            net.kept.data[-1] += 1 + x.sum()

    net, optimizer, loader, engine = private(Net(late, MAX_SMALL_TENSOR + 1), batch=1)
    batches = 40 * ONE_IN
    with refused("buffer 'kept' was written"):
        while engine.ledger.steps < batches:
            for x, y in loader:
                step(net, optimizer, x, y)
    assert FIRST_PASSES <= engine.ledger.steps < batches


def test_which_passes_are_looked_at_follows_from_the_key_alone() -> None:
    def looks(stream: RandomStream) -> list[bool]:
        close = SpotChecks(stream)
        return [close() for _ in range(FIRST_PASSES + 100 * DRAWN_AHEAD)]

    one, again, other = (
        looks(RandomStream.from_seed(0, "a")),
        looks(RandomStream.from_seed(0, "a")),
        looks(RandomStream.from_seed(1, "a")),
    )
    assert one == again != other
    assert all(one[:FIRST_PASSES])
    expected = 100 * DRAWN_AHEAD / ONE_IN
    assert abs(sum(one[FIRST_PASSES:]) - expected) < 6 * math.sqrt(expected)


def test_what_changes_nothing_trains(private) -> None:
    def same(net: Net, x: Tensor) -> None:
        net.kept.copy_(net.kept.clone())
        net.table, net.fresh, net.records = net.table.clone(), None, net.records.copy()
        net.bound = partial(torch.add, net.table.clone())
        net.passes = getattr(net, "passes", 0) + 1

    plain = Net(same)
    plain.bound = partial(torch.add, plain.table.clone())
    plain.kept[0] = math.nan
    plain.norm = nn.BatchNorm1d(6).requires_grad_(False).eval()
    low = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 2))
    add_lora(low, rank=2)
    recurrent = nn.LSTM(3, 2, batch_first=True)
    for net in (plain, low, Last(recurrent)):
        net, optimizer, loader, engine = private(net, batch=8)
        for x, y in loader:
            net.train()
            plain.norm.eval()
            step(net, optimizer, x, y)
            net.eval()
            net(x)
        assert engine.ledger.steps == len(loader)


class Last(nn.Module):
    """The last output of a recurrent layer over pairs of steps."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.view(-1, 2, 3))[0][:, -1]


def test_a_table_is_filled_before_training(private) -> None:
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.table = nn.Linear(6, 2), None

        def forward(self, x: Tensor) -> Tensor:
            if self.table is None or len(self.table) < x.shape[1]:
                self.table = torch.linspace(0, 1, x.shape[1])
            return self.layer(x + self.table[: x.shape[1]])

    net, optimizer, loader, _ = private(Positions(), batch=20)
    x, y = next(iter(loader))
    with refused("attribute 'table'.*made-up inputs.*evaluation mode under torch.no_grad"):
        step(net, optimizer, x, y)
    net, optimizer, loader, engine = private(Positions(), batch=20)
    net.eval()
    with torch.no_grad():
        net(torch.zeros(1, 6))
    net.train()
    step(net, optimizer, x := next(iter(loader))[0], torch.zeros(len(x), dtype=torch.int64))
    assert engine.ledger.steps == 1


def test_a_state_set_between_passes_is_the_loops_own_affair(private) -> None:
    net, optimizer, loader, engine = private(Net(lambda _net, _x: None), batch=8)
    for x, y in loader:
        net.load_state_dict(net.state_dict() | {"kept": torch.rand(6)})
        step(net, optimizer, x, y)
        with torch.no_grad():
            net.table = net.table + 1
    assert engine.ledger.steps == len(loader)
