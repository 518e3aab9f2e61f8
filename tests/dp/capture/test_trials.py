"""Models whose outputs follow other rows of the batch are found by running them on other rows, which leaves
no trace.
"""

import random
from contextlib import nullcontext

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.data import DataLoader

from quintain.dp import PrivacyEngine
from quintain.dp.capture.module_reruns import NO_DEPENDENCE
from quintain.dp.guards.spot_checks import FIRST_PASSES, ONE_IN
from tests.dp.support.loops import refused, step


class Changed(nn.Module):
    """A net of inputs that a function of the whole batch changes, out of the gradients' sight."""

    def __init__(self, change) -> None:
        super().__init__()
        self.first, self.last, self.change = nn.Linear(6, 5), nn.Linear(5, 2), change
        self.passes = 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        return self.last(torch.tanh(self.first(self.change(x, self.passes))))


MIXING = {
    "centred inputs": lambda x: x - x.mean(0),
    "scaled by the largest": lambda x: x / x.detach().abs().max(),
    "below the largest": lambda x: x - x.amax(),
    "over the smallest": lambda x: x - x.amin(0),
    "ranks": lambda x: x.argsort(0).argsort(0).float(),
    "the one before": lambda x: x + 0.1 * x.roll(1, 0),
    "the second before": lambda x: x + 0.1 * x.roll(2, 0),
    "the other way round": lambda x: x + 0.1 * x.flip(0),
    "a little of the mean": lambda x: x + 0.01 * x.mean(0),
}


@pytest.mark.parametrize("name", MIXING)
def test_a_model_that_mixes_its_inputs_is_found(private, name: str) -> None:
    net, optimizer, loader, engine = private(Changed(lambda x, _: MIXING[name](x)), batch=20)
    for _ in range(2):
        with refused("output of one example depends on another: other rows"):
            step(net, optimizer, *next(iter(loader)))
    assert engine.ledger.steps == 0


def test_mixing_that_begins_later_is_found(private) -> None:
    for begins, least, most in ((2, 0, 1), (FIRST_PASSES + 2, FIRST_PASSES, 40 * ONE_IN)):
        net, optimizer, loader, engine = private(
            Changed(lambda x, count, at=begins: x - (count >= at) * x.mean(0)), batch=10
        )
        with refused("other rows"):
            while engine.ledger.steps <= most:
                for x, y in loader:
                    step(net, optimizer, x, y)
        assert least <= engine.ledger.steps <= most


def test_what_cannot_be_told_yet_is_not_called_fine(private) -> None:
    def train(change) -> list:
        net = Changed(change)
        nn.init.zeros_(net.last.weight)
        net, optimizer, loader, engine = private(net, batch=20)
        found = []
        for x, y in loader:
            step(net, optimizer, x, y)
            found.append(engine.report.runs[0].mixing_probe)
        return found

    first, second = train(lambda x, _: x)
    assert first.model.startswith("not checked: the gradient was zero, of first.weight")
    assert first.values == "not checked: the outputs do not follow the inputs"
    assert (second.model, second.values) == (NO_DEPENDENCE, NO_DEPENDENCE)
    with refused("other rows"):
        train(lambda x, _: x - x.mean(0))


class Noisy(nn.Module):
    """Draws from all generators, counts its passes and keeps lists."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.drop = nn.Linear(6, 2), nn.Dropout(0.5)
        self.count, self.log, self.table = 0, [], {"passes": 0}

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        self.log.append(len(x))
        self.table["passes"] += 1
        return self.layer(F.dropout(self.drop(x), 0.2)) * (1 + random.random() + np.random.rand())


def test_trial_passes_leave_no_trace(private) -> None:
    def train(look: bool) -> list:
        torch.manual_seed(0)
        np.random.seed(0)
        random.seed(0)
        net, optimizer, loader, engine = private(Noisy(), batch=20, noise_multiplier=0.0)
        if not look:
            optimizer.private_step.probe.remove()
        for x, y in loader:
            step(net, optimizer, x, y)
        values = NO_DEPENDENCE if look else "not probed yet: no pass over two examples"
        assert engine.report.runs[0].mixing_probe.values == values
        assert (net.count, len(net.log), net.table) == (2, 2, {"passes": 2})
        return [net.layer.weight.tolist(), torch.rand(2).tolist(), random.random(), np.random.rand()]

    assert train(True) == train(False)


def test_a_model_that_is_random_in_a_way_of_its_own_is_said_not_to_be_checked(private) -> None:
    own = torch.Generator().manual_seed(0)
    net, optimizer, loader, engine = private(
        Changed(lambda x, _: x + torch.rand(x.shape, generator=own)), batch=20
    )
    step(net, optimizer, *next(iter(loader)))
    assert engine.report.runs[0].mixing_probe.values.startswith("not checked: the module gives other outputs")


class Packed(nn.Module):
    """Reads embedded words of several lengths, with dropout between layers: its masks follow how the batch is
    packed.
    """

    def __init__(self, mixes: bool) -> None:
        super().__init__()
        self.table, self.last, self.mixes = nn.Embedding(20, 8), nn.Linear(8, 2), mixes
        self.reads = nn.LSTM(8, 8, 2, batch_first=True, dropout=0.3)

    def forward(self, words: Tensor) -> Tensor:
        lengths = (words > 0).sum(1).clamp(min=1)
        packed = pack_padded_sequence(self.table(words), lengths, batch_first=True, enforce_sorted=False)
        found = self.last(self.reads(packed)[1][0][-1])
        return found - found.detach().mean(0) if self.mixes else found


def test_dropout_of_packed_rows_mixes_nothing() -> None:
    for mixes in (False, True):
        net, engine = Packed(mixes), PrivacyEngine(seed=0)
        net, optimizer, loader = engine.make_private(
            module=net,
            optimizer=torch.optim.SGD(net.parameters(), lr=0.1),
            data_loader=sentences(None),
            wrap_model=False,
        )
        rows = (x for _ in range(3) for x in loader)
        with refused("other rows") if mixes else nullcontext():
            for x, y in rows:
                step(net, optimizer, x, y)
        assert mixes or engine.report.runs[0].mixing_probe.values == NO_DEPENDENCE


class Sorts(nn.Module):
    """The first number of each row is the index of a word."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.last = nn.Embedding(4, 5), nn.Linear(10, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.cat([self.table(x[:, 0].round().clamp(0).long()), x[:, 1:]], 1))


def test_indices_among_numbers_stay_indices(private) -> None:
    net, optimizer, loader, engine = private(Sorts(), batch=20)
    x, y = next(iter(loader))
    loader.batch[0][:, 0] = torch.arange(len(x)) % 4
    step(net, optimizer, x, y)
    assert engine.report.runs[0].mixing_probe.values == NO_DEPENDENCE


class Reader(nn.Module):
    """Averages embedded words: over all positions, or those that are no padding."""

    def __init__(self, masked: bool) -> None:
        super().__init__()
        self.table, self.last, self.masked = nn.Embedding(20, 8), nn.Linear(8, 2), masked

    def forward(self, words: Tensor) -> Tensor:
        found = self.table(words)
        kept = (words > 0).float()[..., None] if self.masked else torch.ones_like(found[..., :1])
        return self.last((found * kept).sum(1) / kept.sum(1).clamp(min=1))


def sentences(fixed: int | None) -> DataLoader:
    generator = torch.Generator().manual_seed(0)
    data = [
        (torch.randint(1, 20, (int(n),), generator=generator), int(n) % 2)
        for n in torch.randint(1, 30, (40,), generator=generator)
    ]

    def collate(rows: list) -> tuple[Tensor, Tensor]:
        length = fixed or max((len(words) for words, _ in rows), default=1)
        words = (
            torch.stack([F.pad(words, (0, length - len(words))) for words, _ in rows])
            if rows
            else torch.zeros(0, 1, dtype=torch.int64)
        )
        return words, torch.tensor([label for _, label in rows], dtype=torch.int64)

    return DataLoader(data, batch_size=8, collate_fn=collate)


@pytest.mark.parametrize(("masked", "fixed"), [(True, None), (False, None), (True, 30), (False, 30)])
def test_padding_to_the_longest_that_the_model_does_not_mask_is_found(
    masked: bool, fixed: int | None
) -> None:
    net, engine = Reader(masked), PrivacyEngine(seed=0)
    net, optimizer, loader = engine.make_private(
        module=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=0.1),
        data_loader=sentences(fixed),
        wrap_model=False,
    )

    def train() -> str:
        for _ in range(3):
            for x, y in loader:
                step(net, optimizer, x, y)
        return engine.report.runs[0].mixing_probe.lengths

    if masked or fixed:
        assert train() == (
            NO_DEPENDENCE if masked and not fixed else "not checked: all batches had one length"
        )
    else:
        with refused("how far their batch is padded"):
            train()


def test_rows_that_are_not_the_loaders_are_reported(private) -> None:
    for change, told in (
        (lambda x: x, NO_DEPENDENCE),
        (lambda x: 0.5 * x + 0.5 * x.roll(1, 0), "not checked"),
    ):
        net, optimizer, loader, engine = private(batch=20)
        x, y = next(iter(loader))
        step(net, optimizer, change(x), y)
        assert engine.report.runs[0].mixing_probe.rows.startswith(told)
