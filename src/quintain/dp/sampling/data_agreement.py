"""Checks that processes which train together hold the same data."""

import hashlib
import random
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from quintain.dp.distributed import stable_text
from quintain.dp.sampling.physical_batch import Indices
from quintain.dp.tensor_digest import digest

if TYPE_CHECKING:
    from quintain.dp.sampling.loader import SamplingLoader

NUM_COMPARED_RECORDS = 16
"""Records that are read and compared, where there are as many: the first, the last, and some between."""
MAX_RECORD_PARTS = 62
"""Parts of a record that are distinguished (input, label, ...); later ones count as the last."""
ONE_PROCESS = "nothing: one process"
HINT = (
    ": random_split needs generator=torch.Generator().manual_seed(...), the same in each process, and lists "
    "of files need sorted()"
)


def check_same_data(loader: "SamplingLoader[object]") -> str:
    """Check that all processes hold the same data, as far as a sample shows; one process reads nothing.

    Compared are the length, the rows of subsets, tensors in memory, units, and ``NUM_COMPARED_RECORDS``
    records. Those are read twice: a part of a record that comes out otherwise in some process, such as a
    image that is changed at random by generators of its own, cannot be compared and is warned of.

    Returns:
        What was compared, for the record.

    Raises:
        PrivacyError: In each process, if they differ.
    """
    world = loader.world
    if world.size == 1:
        return ONE_PROCESS
    first, again = _read(loader), _read(loader)
    varies = sum(
        1 << part
        for part in {
            min(at, MAX_RECORD_PARTS - 1)
            for at in first.keys() | again.keys()
            if first.get(at) != again.get(at)
        }
    )
    for (other,) in (given[:1] for given in world.all_gather_numbers((varies,))):
        varies |= other
    kept = {at: part for at, part in sorted(first.items()) if not varies >> min(at, MAX_RECORD_PARTS - 1) & 1}
    read = [hashlib.sha256(b"".join(part)).hexdigest() for part in kept.values()]
    told = {
        "data set (lengths, rows of subsets, tensors)": _dataset_structure(loader.dataset),
        "units": _units(loader),
        "records as read": read,
    }
    world.check_same_on_all(
        {name: hashlib.sha256(stable_text(value).encode()).hexdigest()[:16] for name, value in told.items()},
        HINT,
    )
    return _comparison_report(
        [at + 1 for at in range(MAX_RECORD_PARTS) if varies >> at & 1],
        list(kept.values()),
        in_memory=_in_memory(loader.dataset),
    )


def _comparison_report(left: list[int], kept: list[list[bytes]], *, in_memory: bool) -> str:
    """What was compared; a warning where a part of the records was left out of it.

    Args:
        left: Numbers of the parts that were.
        kept: Of each other part, a hash for each record that was read.
        in_memory: Whether the data set is of tensors, which are compared whole.
    """
    if in_memory:
        return "length, subsets, units, and all tensors in memory"
    if not left:
        return f"length, subsets, units, and {NUM_COMPARED_RECORDS} records as they are read"
    parts = f"part{'s' * (len(left) > 1)} {', '.join(map(str, left))} of a record"
    known = any(2 * len(set(part)) > len(part) for part in kept)
    rest = (
        f"of {NUM_COMPARED_RECORDS} records all but {parts}"
        if known
        else f"the records are not compared: all but {parts} has few values (labels, say)"
    )
    warnings.warn(
        f"{parts} (1 is the input) came out otherwise when read again, so that processes could not compare "
        f"their records by it ({rest}); expected what changes records at random to draw from torch's, "
        "NumPy's or Python's own generator, or a look: compare hashes of all records, unchanged, in each "
        f"process{HINT}",
        UserWarning,
        stacklevel=6,
    )
    return f"length, subsets and units; {rest}"


def _read(loader: "SamplingLoader[object]") -> dict[int, list[bytes]]:
    """For each part of some records, as the loop will get them, one hash a record."""
    size = loader.num_units if loader.units is None else loader.units.num_records
    rows = np.unique(
        np.r_[0, size - 1, np.random.default_rng(0).integers(size, size=max(0, NUM_COMPARED_RECORDS - 2))]
    )
    parts: dict[int, list[bytes]] = {}
    with _fixed_rng():
        for batch in loader.batch_source.iter_batches(iter(np.split(rows, len(rows))), 0):
            for at, value in enumerate(_values(batch)):
                parts.setdefault(at, []).append(hashlib.sha256(value).digest())
    return parts


@contextmanager
def _fixed_rng() -> Iterator[None]:
    """A context with fixed states of all random generators, which are restored afterwards."""
    kept = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        random.seed(0)
        np.random.seed(0)
        try:
            yield
        finally:
            random.setstate(kept[0])
            np.random.set_state(kept[1])


def _values(batch: Any) -> Iterator[bytes]:
    """The bytes of each part of a batch."""
    if isinstance(batch, Mapping):
        for key, value in batch.items():
            yield from (repr(key).encode() + part for part in _values(value))
    elif isinstance(batch, (list, tuple)):
        for value in batch:
            yield from _values(value)
    else:
        yield b"".join(_raw(batch))


def _raw(value: Any) -> Iterator[bytes]:
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
    """The structure of a data set: hashes of subsets' rows and of tensors, else type and length."""
    if isinstance(dataset, Subset):
        return [
            "subset",
            _hash(np.asarray(dataset.indices, dtype=np.int64)),
            _dataset_structure(dataset.dataset),
        ]
    if isinstance(dataset, ConcatDataset):
        return ["concatenation", *map(_dataset_structure, dataset.datasets)]
    if isinstance(dataset, TensorDataset):
        return ["tensors", *map(_hash, dataset.tensors)]
    return [type(dataset).__qualname__, None if dataset is None else len(dataset)]


def _in_memory(dataset: Any) -> bool:
    """Whether a data set is made of tensors alone."""
    if isinstance(dataset, Subset):
        return _in_memory(dataset.dataset)
    if isinstance(dataset, ConcatDataset):
        return all(map(_in_memory, dataset.datasets))
    return isinstance(dataset, TensorDataset)


def _units(loader: "SamplingLoader[object]") -> list[Any]:
    """The settings and grouping of privacy units."""
    units = loader.units
    return (
        []
        if units is None
        else [
            units.name,
            units.max_records_per_unit,
            units.average_records,
            _hash(units.order),
            _hash(units.counts),
        ]
    )


def _hash(values: "Tensor | Indices") -> str:
    tensor = torch.as_tensor(values)
    return digest([tensor.resolve_conj() if tensor.layout == torch.strided else tensor.to_dense()])
