"""Collations in which a record in company is another one than alone are said not to be checked."""

import random
from collections import UserDict
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, TensorDataset, default_collate

from quintain.dp import PrivacyEngine
from quintain.dp.capture.module_reruns import NO_DEPENDENCE
from quintain.dp.sampling.collation_check import NOT_EACH_ALONE, NOTHING_COMPARED, collation_doubt

X, Y = torch.arange(60.0).reshape(20, 3) / 7, torch.arange(20) % 2


def mixup(records):
    x, y = default_collate(records)
    labels = F.one_hot(y, 2).float()
    return 0.7 * x + 0.3 * x.roll(1, 0), 0.7 * labels + 0.3 * labels.roll(1, 0)


def mixup_at_times(records):
    return mixup(records) if random.random() < 0.5 else default_collate(records)


def normalized(records):
    x, y = default_collate(records)
    return x - x.mean(0), y


def as_dict(records):
    x, y = default_collate(records)
    return {"x": x.clone(), "y": y}


def noisy(records):
    x, y = default_collate(records)
    return x + torch.rand(()), y


def padded(records):
    return pad_sequence([x[: 1 + int(y)] for x, y in records], batch_first=True), torch.stack(
        [y for _, y in records]
    )


@dataclass
class Batch:
    x: torch.Tensor
    y: torch.Tensor


@dataclass(slots=True)
class SlottedBatch:
    x: torch.Tensor
    y: torch.Tensor


def mixup_in_large_batches(records):
    return mixup(records) if len(records) > 8 else default_collate(records)


def mixup_batch_second(records):
    x, _ = mixup(records)
    return x.T


def broken(records):
    return default_collate(records[:2])[0][1]


@pytest.mark.parametrize(
    ("collate", "doubt"),
    [
        (None, None),
        (as_dict, None),
        (padded, None),
        (noisy, None),
        (mixup, NOT_EACH_ALONE),
        (normalized, NOT_EACH_ALONE),
        (mixup_at_times, NOT_EACH_ALONE),
        (mixup_in_large_batches, NOT_EACH_ALONE),
        (lambda records: UserDict(x=mixup(records)[0]), NOT_EACH_ALONE),
        (lambda records: UserDict(x=default_collate(records)[0]), None),
        (lambda records: Batch(*mixup(records)), NOT_EACH_ALONE),
        (lambda records: SlottedBatch(*mixup(records)), NOT_EACH_ALONE),
        (lambda records: SlottedBatch(*default_collate(records)), None),
        (lambda records: mixup(records)[0].numpy(), NOT_EACH_ALONE),
        (lambda records: default_collate(records)[0].numpy(), None),
        (mixup_batch_second, NOT_EACH_ALONE),
        (lambda records: default_collate(records)[0].T, None),
        (lambda records: mixup(records)[0].sum(), NOTHING_COMPARED),
    ],
    ids=[
        "the usual one",
        "a dict",
        "padding",
        "one draw for a batch",
        "mixup",
        "a batch's mean taken off",
        "mixup at times",
        "mixup in large batches",
        "mixup in a mapping",
        "a mapping",
        "mixup in a data class",
        "mixup in a data class with slots",
        "a data class with slots",
        "mixup in an array",
        "an array",
        "mixup with the batch second",
        "the batch second",
        "one number for a batch",
    ],
)
def test_a_record_in_company_is_compared_with_itself_alone(collate, doubt) -> None:
    loader = DataLoader(TensorDataset(X, Y), batch_size=12, collate_fn=collate)
    before = torch.get_rng_state()
    assert collation_doubt(loader) == doubt
    assert torch.equal(torch.get_rng_state(), before)


def test_a_collation_that_does_not_take_single_records_is_not_checked() -> None:
    loader = DataLoader(TensorDataset(X, Y), batch_size=5, collate_fn=broken)
    assert collation_doubt(loader).startswith("not checked: the loader's collate_fn does not take")


@pytest.mark.parametrize("collate", [mixup, as_dict])
def test_rows_of_a_collation_that_mixes_are_not_called_checked(collate) -> None:
    net, engine = torch.nn.Linear(3, 2), PrivacyEngine(seed=0)
    net, optimizer, loader = engine.make_private(
        module=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=0.1),
        data_loader=DataLoader(TensorDataset(X, Y), batch_size=10, collate_fn=collate),
    )
    for batch in loader:
        x, y = batch.values() if isinstance(batch, dict) else batch
        F.cross_entropy(net(x.float()), y).backward()
        optimizer.step()
        break
    rows = engine.report.runs[0].mixing_probe.rows
    assert rows == (NOT_EACH_ALONE if collate is mixup else NO_DEPENDENCE)
