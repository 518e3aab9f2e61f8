"""Checks that the processes of one training hold the same data."""

import hashlib
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from quintain.dp.distributed import stable_text
from quintain.dp.randomness.generator_states import fixed_generators
from quintain.dp.sampling.physical_batch import Indices
from quintain.dp.tensor_digest import digest

if TYPE_CHECKING:
    from quintain.dp.sampling.loader import SamplingLoader

NUM_COMPARED_RECORDS = 16
"""Number of records that are read and compared (fewer of a small data set): first, last and random ones."""
MAX_RECORD_PARTS = 62
"""Number of parts of a record (input, label, ...) that are told apart; later ones count as the last."""
ONE_PROCESS = "nothing: one process"
SAME_DATA_HINT = (
    ": random_split needs generator=torch.Generator().manual_seed(...), the same in each process, and lists "
    "of files need sorted()"
)


def check_same_data(loader: "SamplingLoader[object]") -> str:
    """Check that all processes hold the same data, as far as a sample shows; one process reads nothing.

    Length, rows of subsets, tensors in memory, privacy units and ``NUM_COMPARED_RECORDS`` records are
    compared. The records are read twice: a part of them that differs the second time in some process, such
    as an image that is augmented by a random generator of its own, cannot be compared, which is warned of.

    Args:
        loader: This process' loader.

    Returns:
        What was compared, in words.

    Raises:
        PrivacyError: In each process, if the data differ.
    """
    world = loader.world
    if world.size == 1:
        return ONE_PROCESS
    # Parts that differ between two readings in any process are compared in none: one bit for each part,
    # gathered from all processes.
    first_read, second_read = _hash_records(loader), _hash_records(loader)
    varying = 0
    for part in first_read.keys() | second_read.keys():
        if first_read.get(part) != second_read.get(part):
            varying |= 1 << min(part, MAX_RECORD_PARTS - 1)
    for numbers in world.all_gather_numbers((varying,)):
        varying |= numbers[0]
    stable = {
        part: hashes
        for part, hashes in sorted(first_read.items())
        if not varying >> min(part, MAX_RECORD_PARTS - 1) & 1
    }
    compared = {
        "data set (lengths, rows of subsets, tensors)": _dataset_structure(loader.dataset),
        "units": _unit_settings(loader),
        "records as read": [hashlib.sha256(b"".join(hashes)).hexdigest() for hashes in stable.values()],
    }
    world.check_same_on_all(
        {
            name: hashlib.sha256(stable_text(value).encode()).hexdigest()[:16]
            for name, value in compared.items()
        },
        SAME_DATA_HINT,
    )
    return _comparison_report(
        [part + 1 for part in range(MAX_RECORD_PARTS) if varying >> part & 1],
        list(stable.values()),
        in_memory=_is_in_memory(loader.dataset),
    )


def _comparison_report(varying: list[int], stable: list[list[bytes]], *, in_memory: bool) -> str:
    """Return what was compared, and warn if some parts of the records were not.

    Args:
        varying: Numbers, from 1, of the parts that were not compared.
        stable: For each part that was compared, the hash of each record that was read.
        in_memory: Whether the data set consists of tensors, which are compared whole.
    """
    if in_memory:
        return "length, subsets, units, and all tensors in memory"
    if not varying:
        return f"length, subsets, units, and {NUM_COMPARED_RECORDS} records as they are read"
    parts = f"part{'s' * (len(varying) > 1)} {', '.join(map(str, varying))} of a record"
    # a part identifies records only if most of them differ in it: labels alone do not
    identifies_records = any(2 * len(set(hashes)) > len(hashes) for hashes in stable)
    rest = (
        f"of {NUM_COMPARED_RECORDS} records all but {parts}"
        if identifies_records
        else f"the records are not compared: all but {parts} has few values (labels, say)"
    )
    warnings.warn(
        f"{parts} (1 is the input) differed when read again, so that processes could not compare their "
        f"records by it ({rest}); expected random changes of records to draw from the global generator of "
        "torch, NumPy or Python. Otherwise compare hashes of all records yourself, unchanged, in each "
        f"process{SAME_DATA_HINT}",
        UserWarning,
        stacklevel=6,
    )
    return f"length, subsets and units; {rest}"


def _hash_records(loader: "SamplingLoader[object]") -> dict[int, list[bytes]]:
    """Return the hashes of some records, as the training loop gets them: by part, one for each record."""
    size = loader.num_units if loader.units is None else loader.units.num_records
    rows = np.unique(
        np.r_[0, size - 1, np.random.default_rng(0).integers(size, size=max(0, NUM_COMPARED_RECORDS - 2))]
    )
    parts: dict[int, list[bytes]] = {}
    with fixed_generators():
        for batch in loader.batch_source.iter_batches(iter(np.split(rows, len(rows))), 0):
            for part, value in enumerate(_part_bytes(batch)):
                parts.setdefault(part, []).append(hashlib.sha256(value).digest())
    return parts


def _part_bytes(batch: Any) -> Iterator[bytes]:
    """Yield the bytes of each part of a batch, which may be nested in dicts, lists and tuples."""
    if isinstance(batch, Mapping):
        for key, value in batch.items():
            yield from (repr(key).encode() + part for part in _part_bytes(value))
    elif isinstance(batch, (list, tuple)):
        for value in batch:
            yield from _part_bytes(value)
    else:
        yield b"".join(_value_bytes(batch))


def _value_bytes(value: Any) -> Iterator[bytes]:
    """Yield the bytes of one value, with dtype and shape of a tensor or array."""
    if isinstance(value, Tensor) and value.layout == torch.strided:
        value = value.detach().cpu().resolve_conj().contiguous()
        yield f"{value.dtype} {tuple(value.shape)}".encode()
        yield value.flatten().view(torch.uint8).numpy().tobytes()
    elif isinstance(value, np.ndarray) and value.dtype != object:
        yield f"{value.dtype} {value.shape}".encode()
        yield np.ascontiguousarray(value).tobytes()
    elif hasattr(value, "tobytes"):
        yield value.tobytes()
    else:
        yield stable_text(value).encode()


def _dataset_structure(dataset: Any) -> list[Any]:
    """Return what describes a data set: hashes of subsets' rows and of tensors, else type and length."""
    if isinstance(dataset, Subset):
        return [
            "subset",
            _hash_tensor(np.asarray(dataset.indices, dtype=np.int64)),
            _dataset_structure(dataset.dataset),
        ]
    if isinstance(dataset, ConcatDataset):
        return ["concatenation", *map(_dataset_structure, dataset.datasets)]
    if isinstance(dataset, TensorDataset):
        return ["tensors", *map(_hash_tensor, dataset.tensors)]
    return [type(dataset).__qualname__, None if dataset is None else len(dataset)]


def _is_in_memory(dataset: Any) -> bool:
    """Return whether a data set consists of tensors alone."""
    if isinstance(dataset, Subset):
        return _is_in_memory(dataset.dataset)
    if isinstance(dataset, ConcatDataset):
        return all(map(_is_in_memory, dataset.datasets))
    return isinstance(dataset, TensorDataset)


def _unit_settings(loader: "SamplingLoader[object]") -> list[Any]:
    """Return the settings of privacy units and hashes of how they group records; empty without units."""
    units = loader.units
    if units is None:
        return []
    return [
        units.name,
        units.max_records_per_unit,
        units.average_records,
        _hash_tensor(units.order),
        _hash_tensor(units.counts),
    ]


def _hash_tensor(values: "Tensor | Indices") -> str:
    """Return the hash of a tensor or array, made dense."""
    tensor = torch.as_tensor(values)
    return digest([tensor.resolve_conj() if tensor.layout == torch.strided else tensor.to_dense()])
