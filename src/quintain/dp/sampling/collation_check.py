"""A check of a user's collation: whether a record is the same in a batch of several and alone."""

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, default_collate, default_convert

from quintain.dp.randomness.generator_states import fixed_generators

RECORDS = 4
"""Records that are collated together, and each by itself."""

SEEDS = 8
"""Seeds that collation is tried under, so that rare mixing is seen, too."""

MAX_BATCH = 256
"""Records of the one batch of the usual size that is tried, so that mixing in large batches is seen, too."""

NOT_EACH_ALONE = (
    "not checked: the loader's collate_fn gives a record other numbers in company than alone (it mixes "
    "records, or draws at random for each batch); expected it to look at each record alone"
)


NOTHING_COMPARED = (
    "not checked: the loader's collate_fn gives nothing that has a row for each record; expected tensors or "
    "arrays of records, in lists, mappings or objects"
)


def collation_doubt(loader: "DataLoader[Any]") -> str | None:
    """Return the doubt about a loader's collation; None where records come out of a batch as they do alone.

    Padding that goes by the longest record is allowed: compared are the places that both have.
    """
    dataset: Any = loader.dataset
    if loader.collate_fn in (default_collate, default_convert) or not len(dataset):
        return None
    try:
        with fixed_generators():
            size = min(max(RECORDS, loader.batch_size or 0), MAX_BATCH, len(dataset))
            records = [dataset[row] for row in range(size)]
        few = records[:RECORDS]
        compared = [_compare(loader, few, range(len(few)), seed) for seed in range(SEEDS)]
        if size > RECORDS:
            compared.append(_compare(loader, records, (0, size // 2, size - 1), SEEDS))
    except Exception as error:
        return f"not checked: the loader's collate_fn does not take single records ({type(error).__name__})"
    if not all(same for same, _ in compared):
        return NOT_EACH_ALONE
    return None if all(count for _, count in compared) else NOTHING_COMPARED


def _compare(
    loader: "DataLoader[Any]", records: list[Any], rows: Iterable[int], seed: int
) -> tuple[bool, int]:
    """Return whether rows come out of a batch as they do alone, under one seed, and how many tensors of them
    were compared.
    """
    together, count = list(_tensors(_collate(loader, records, seed))), 0
    for row in rows:
        alone = list(_tensors(_collate(loader, records[row : row + 1], seed)))
        if len(alone) != len(together):
            return False, count
        for whole, part in zip(together, alone, strict=True):
            dim = _batch_dim(whole, part, len(records))
            if dim is None:
                continue
            count += 1
            if not _agree(whole.select(dim, row), part.select(dim, 0)):
                return False, count
    return True, count


def _batch_dim(whole: Tensor, part: Tensor, size: int) -> int | None:
    """Return the dimension along which a batch of ``size`` records and one of a single record lie."""
    if whole.dim() != part.dim():
        return None
    return next(
        (dim for dim in range(whole.dim()) if whole.shape[dim] == size and part.shape[dim] == 1), None
    )


def _tensors(batch: Any) -> Iterator[Tensor]:
    """All tensors and arrays of numbers in a batch, whatever holds them."""
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, np.ndarray):
        if batch.dtype.kind in "biufc":
            yield torch.tensor(batch)
    elif isinstance(batch, list | tuple):
        for part in batch:
            yield from _tensors(part)
    elif isinstance(batch, Mapping):
        for part in batch.values():
            yield from _tensors(part)
    else:
        for part in _attributes(batch):
            yield from _tensors(part)


def _attributes(batch: Any) -> Iterator[Any]:
    """What an object, such as one of a data class, holds."""
    yield from getattr(batch, "__dict__", {}).values()
    for cls in type(batch).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(batch, name):
                yield getattr(batch, name)


def _agree(one: Tensor, other: Tensor) -> bool:
    """Whether two records are the same where both have numbers."""
    if one.dim() != other.dim():
        return False
    common = tuple(slice(0, min(sizes)) for sizes in zip(one.shape, other.shape, strict=True))
    return torch.equal(one[common], other[common])


def _collate(loader: "DataLoader[Any]", records: list[Any], seed: int) -> Any:
    with fixed_generators(seed):
        return loader.collate_fn(copy.deepcopy(records))
