"""Privacy units: records that are protected and clipped together, such as all of one patient."""

import copy
from collections.abc import Hashable, Iterable, Iterator, Mapping, Set
from dataclasses import fields, is_dataclass
from typing import Any, cast, get_args

import numpy as np
from torch import Tensor

from quintain.core.errors import DataError, SettingError
from quintain.dp.accounting.guarantee import PrivacyUnit
from quintain.dp.distributed import World
from quintain.dp.randomness.stream import RandomStream
from quintain.dp.sampling.physical_batch import Indices, Weights


class PrivacyUnits:
    r"""The privacy unit that each record belongs to: a patient, a user, a household.

    Units are sampled, each with all its records, and the gradient of a unit is bounded as a whole:

    .. math:: S = \sum_{u \in B_t} \mathrm{clip}_C \Big( \sum_{i \in u} w_u\, g_i \Big)

    Guarantee: that of the run, for adding or removing one unit with all its records. The number of units is
    public, instead of that of records; a record belongs to one unit. Which rows of a batch are a unit's is
    known by their order alone: collation and loop keep it.

    Args:
        keys: One hashable key for each record, in the order of the data set; equal keys make one unit.
            Numbers, texts and tuples of these are best; a tensor or array of no dimension counts as its
            number.
        name: What a unit is, for the ledger.
        max_records_per_unit: How many records of one unit a batch holds at most, drawn anew each time; None
            for all.
        average_records: Whether w is one over the unit's records in the batch (else 1), so that many records
            do not weigh more.

    Raises:
        DataError: If a record has no key, or one that is equal to itself alone (it holds NaN, say), which
            would make a unit of each record.
    """

    def __init__(
        self,
        keys: Iterable[Hashable],
        *,
        name: PrivacyUnit = "patient",
        max_records_per_unit: int | None = None,
        average_records: bool = False,
    ) -> None:
        if max_records_per_unit is not None and max_records_per_unit < 1:
            raise SettingError(f"got at most {max_records_per_unit} records a unit; expected at least 1")
        if name not in get_args(PrivacyUnit):
            raise SettingError(
                f"got units called {name!r}; expected one of {', '.join(get_args(PrivacyUnit))}: the ledger "
                "and reports speak of these"
            )
        listed = [_key(key, at) for at, key in enumerate(_to_list(keys))]
        number: dict[Hashable, int] = {}
        for key in listed:
            number.setdefault(key, len(number))
        unit_of_record = np.array([number[key] for key in listed], dtype=np.int64)
        self.name, self.max_records_per_unit, self.average_records = (
            name,
            max_records_per_unit,
            average_records,
        )
        self.num_records, self.num_units = len(unit_of_record), len(number)
        self.order = np.argsort(unit_of_record, kind="stable")
        self.counts = np.bincount(unit_of_record, minlength=self.num_units)
        self._starts = np.cumsum(self.counts) - self.counts

    def check_length(self, num_records: int) -> None:
        """Raise unless there is one key for each record."""
        if self.num_records != num_records:
            raise SettingError(
                f"got {self.num_records} keys of units for {num_records} records; expected one each"
            )

    def sample_rows(
        self, sampled_units: Indices, stream: RandomStream, world: World
    ) -> tuple[Indices, Indices, Weights]:
        """The rows of the sampled units on this process; the number of rows of each unit; their weights.

        A weight is 1, or one over the unit's rows with ``average_records``. With ``max_records_per_unit``
        each unit's rows are a random subset, sampled anew for every batch.
        """
        # all records of the units, one unit after another; place: the number of a record within its unit
        counts = self.counts[sampled_units]
        ends = np.cumsum(counts)
        place = np.arange(counts.sum()) - np.repeat(ends - counts, counts)
        rows = self.order[np.repeat(self._starts[sampled_units], counts) + place]
        owner = np.repeat(np.arange(len(sampled_units)), counts)
        # units go round the processes, as in ``World.shard``
        kept = owner % world.size == world.rank
        if self.max_records_per_unit is not None:
            # a random order within each unit, of which the first ``at_most`` stay
            drawn = np.lexsort((stream.words(len(rows)), owner))
            within_limit = np.empty(len(rows), dtype=bool)
            within_limit[drawn] = place < self.max_records_per_unit
            kept, counts = kept & within_limit, np.minimum(counts, self.max_records_per_unit)
        counts = world.shard(counts)
        return rows[kept], counts, 1 / counts if self.average_records else np.ones(len(counts))


ATOMS = (int, float, complex, str, bytes, bool)
PLAIN = "give each record a number, a text, or a tuple of these, such as keys.tolist()"


def _to_list(keys: object) -> list[Any]:
    """The keys as a list, one for each record."""
    if isinstance(keys, (Tensor, np.ndarray)) and keys.ndim == 1:
        return list(keys.tolist())
    if isinstance(keys, (Tensor, np.ndarray, str, bytes, Mapping, Set)) or not isinstance(keys, Iterable):
        shape = f" of shape {tuple(keys.shape)}" if isinstance(keys, (Tensor, np.ndarray)) else ""
        raise DataError(
            f"got {type(keys).__name__}{shape} for the keys of units; expected a list with one key for each "
            "record, in order"
        )
    return list(keys)


def _key(key: Any, at: int) -> Hashable:
    """The key of one record, which is equal to all others that say the same.

    A key that is told by which object it is, as tensors are, is no key: its copy would be another.
    """
    if isinstance(key, (Tensor, np.ndarray)) and key.ndim == 0:
        key = key.item()
    try:
        if key is None or _is_no_number(key):
            raise DataError(f"record {at} has the key {key}; expected each to say whom it belongs to")
        if type(key) in ATOMS:
            return cast("Hashable", key)
        again = copy.deepcopy(key)
        by_object: Any = object.__hash__
        same = bool(type(key).__hash__ is not by_object and hash(again) == hash(key) and again == key)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"record {at} has a {type(key).__name__} as its key, which cannot be compared ({error}); {PLAIN}"
        ) from error
    if not same:
        raise DataError(
            f"record {at} has a {type(key).__name__} as its key, which is equal to itself alone: each record "
            f"would be a unit; {PLAIN}"
        )
    return cast("Hashable", key)


def _is_no_number(key: Any) -> bool:
    """Whether it is NaN, or one is in it: a copy is equal to it then, since that holds the same NaN, but no
    other key is.
    """
    return any(bool(part != part) for part in _parts(key, set()))  # noqa: PLR0124


def _parts(key: Any, seen: set[int]) -> Iterator[Any]:
    """A key, what it holds, and what that holds: entries, or the fields that are compared."""
    yield key
    if type(key) in ATOMS or isinstance(key, (type, Tensor, np.ndarray)) or id(key) in seen:
        return
    seen.add(id(key))
    held: Iterable[Any]
    if isinstance(key, (tuple, list, Set)):
        held = key
    elif is_dataclass(key):
        held = [getattr(key, field.name) for field in fields(key) if field.compare]
    else:
        slots = [
            name
            for kind in type(key).__mro__
            for name in getattr(kind, "__slots__", ())
            if hasattr(key, name)
        ]
        held = [*getattr(key, "__dict__", {}).values(), *(getattr(key, name) for name in slots)]
    for part in held:
        yield from _parts(part, seen)
