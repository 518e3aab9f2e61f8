"""Warning of records that subsets and concatenations hold twice: epsilon hides one copy only."""

import warnings
from typing import Any

import numpy as np
from torch.utils.data import ConcatDataset, Dataset, Subset

from quintain.dp.sampling.physical_batch import Indices
from quintain.dp.sampling.privacy_units import PrivacyUnits


def warn_of_repeats(dataset: Dataset[Any], units: PrivacyUnits | None) -> None:
    """Warn if subsets and concatenations hold a record more than once, unless all copies are one unit's."""
    if not isinstance(dataset, (Subset, ConcatDataset)):
        return
    rows = _origins(dataset, {})
    if units is not None:
        # copies of one unit are clipped together: one of them stands for all
        owner = np.empty(units.num_records, dtype=np.int64)
        owner[units.order] = np.repeat(np.arange(units.num_units), units.counts)
        rows = np.unique(np.column_stack([rows, owner]), axis=0)[:, :2]
    counts = np.unique(rows, axis=0, return_counts=True)[1]
    most = int(counts.max(initial=0))
    if most > 1:
        warnings.warn(
            f"got a data set that holds {int((counts > 1).sum())} records more than once, one of them "
            f"{most} times: epsilon hides one copy alone; expected each once, or units=, one key a record, "
            "so that the copies of a record are hidden together",
            UserWarning,
            stacklevel=4,
        )


def _origins(dataset: Dataset[Any], known: dict[int, int]) -> Indices:
    """Where each record comes from, (N, 2): the number of its innermost data set, and its row there.

    ``known`` numbers the data sets by identity.
    """
    if isinstance(dataset, Subset):
        return _origins(dataset.dataset, known)[np.asarray(dataset.indices, dtype=np.int64)]
    if isinstance(dataset, ConcatDataset):
        return np.concatenate([_origins(part, known) for part in dataset.datasets])
    size = len(dataset)  # type: ignore[arg-type]
    return np.column_stack([np.full(size, known.setdefault(id(dataset), len(known))), np.arange(size)])
