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
        together = _tensors(_collated(loader, records))
        alone = [_tensors(_collated(loader, [record])) for record in records]
    except Exception as error:
        return f"not checked: the loader's collate_fn does not take single records ({type(error).__name__})"
    for row, parts in enumerate(alone):
        if len(parts) != len(together):
            return NOT_EACH_ALONE
        for whole, part in zip(together, parts, strict=True):
            if len(whole) == len(records) and len(part) == 1 and not _agree(whole[row], part[0]):
                return NOT_EACH_ALONE
    return None


def _tensors(batch: Any) -> list[Tensor]:
    """The tensors of a batch that have rows."""
    return [leaf for leaf in tree_flatten(batch)[0] if isinstance(leaf, Tensor) and leaf.dim()]


def _agree(one: Tensor, other: Tensor) -> bool:
    """Whether two records are the same where both have numbers."""
    if one.dim() != other.dim():
        return False
    common = tuple(slice(0, min(sizes)) for sizes in zip(one.shape, other.shape, strict=True))
    return torch.equal(one[common], other[common])


def _collated(loader: "DataLoader[Any]", records: list[Any]) -> Any:
    with fixed_generators():
        return loader.collate_fn(copy.deepcopy(records))
