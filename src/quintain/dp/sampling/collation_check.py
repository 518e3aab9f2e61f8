"""A check of a user's collation: whether a record is the same in a batch of several and alone."""

import copy
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten
from torch.utils.data import DataLoader, default_collate, default_convert

from quintain.dp.randomness.generator_states import fixed_generators

RECORDS = 4
"""Records that are collated together, and each by itself."""

SEEDS = 8
"""Seeds that collation is tried under, so that rare mixing is seen, too."""

NOT_EACH_ALONE = (
    "not checked: the loader's collate_fn gives a record other numbers in company than alone (it mixes "
    "records, or draws at random for each batch); expected it to look at each record alone"
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
            records = [dataset[row] for row in range(min(RECORDS, len(dataset)))]
        same = all(_same_in_company(loader, records, seed) for seed in range(SEEDS))
    except Exception as error:
        return f"not checked: the loader's collate_fn does not take single records ({type(error).__name__})"
    return None if same else NOT_EACH_ALONE


def _same_in_company(loader: "DataLoader[Any]", records: list[Any], seed: int) -> bool:
    """Whether each record comes out of a batch of all of them as it does alone, under one seed."""
    together = _tensors(_collated(loader, records, seed))
    for row, record in enumerate(records):
        parts = _tensors(_collated(loader, [record], seed))
        if len(parts) != len(together):
            return False
        for whole, part in zip(together, parts, strict=True):
            if len(whole) == len(records) and len(part) == 1 and not _agree(whole[row], part[0]):
                return False
    return True


def _tensors(batch: Any) -> list[Tensor]:
    """The tensors of a batch that have rows."""
    return [leaf for leaf in tree_flatten(batch)[0] if isinstance(leaf, Tensor) and leaf.dim()]


def _agree(one: Tensor, other: Tensor) -> bool:
    """Whether two records are the same where both have numbers."""
    if one.dim() != other.dim():
        return False
    common = tuple(slice(0, min(sizes)) for sizes in zip(one.shape, other.shape, strict=True))
    return torch.equal(one[common], other[common])


def _collated(loader: "DataLoader[Any]", records: list[Any], seed: int) -> Any:
    with fixed_generators(seed):
        return loader.collate_fn(copy.deepcopy(records))
