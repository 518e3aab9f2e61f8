"""Records protected and clipped together: all of one patient, or all augmented copies of one record."""

import copy
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Set
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args

import numpy as np
from torch import Tensor

from quintain.core.errors import DataError, SettingError
from quintain.dp.accounting.guarantee import PrivacyUnit
from quintain.dp.draws.distributed import Ranks
from quintain.dp.draws.pieces import Indices, Shares
from quintain.dp.step.noise import Stream

if TYPE_CHECKING:
    from quintain.dp.draws.batches import Source
    from quintain.dp.draws.sampling import SamplingLoader

Loader = TypeVar("Loader", bound="SamplingLoader")


class Units:
    r"""Who each record belongs to: a patient, a user, a household.

    Units are drawn, each with all its records, and the gradient of a unit is bounded as a whole:

    .. math:: S = \sum_{u \in B_t} \mathrm{clip}_C \Big( \sum_{i \in u} w_u\, g_i \Big)

    Guarantee: that of the run, for adding or removing one unit with all its records. The number of units is public, instead of that of
    records; a record belongs to one unit. Which rows of a batch are a unit's is known by their order alone:
    collation and loop keep it.

    Args:
        keys: One hashable key for each record, in the order of the data set; equal keys make one unit. Numbers, texts and tuples of these
            are best; a tensor or array of no dimension counts as its number.
        name: What a unit is, for the ledger.
        at_most: How many records of one unit a batch holds at most, drawn anew each time; None for all.
        average: Whether w is one over the unit's records in the batch (else 1), so that many records do not weigh more.

    Raises:
        DataError: If a record has no key, or one that is equal to itself alone (it holds NaN, say), which would make a unit of each record.
    """

    def __init__(
        self, keys: Iterable[Hashable], *, name: PrivacyUnit = "patient", at_most: int | None = None, average: bool = False
    ) -> None:
        if at_most is not None and at_most < 1:
            raise SettingError(f"got at most {at_most} records a unit; expected at least 1")
        if name not in get_args(PrivacyUnit):
            raise SettingError(
                f"got units called {name!r}; expected one of {', '.join(get_args(PrivacyUnit))}: the ledger and reports speak of these"
            )
        listed = [_key(key, at) for at, key in enumerate(_listed(keys))]
        number: dict[Hashable, int] = {}
        for key in listed:
            number.setdefault(key, len(number))
        owner = np.array([number[key] for key in listed], dtype=np.int64)
        self.name, self.at_most, self.average = name, at_most, average
        self.records, self.count = len(owner), len(number)
        self.order = np.argsort(owner, kind="stable")
        self.counts = np.bincount(owner, minlength=self.count)
        self._starts = np.cumsum(self.counts) - self.counts

    def check(self, records: int) -> None:
        """Raise unless there is a key for each record."""
        if self.records != records:
            raise SettingError(f"got {self.records} keys of units for {records} records; expected one each")

    def rows(self, chosen: Indices, stream: Stream, ranks: Ranks) -> tuple[Indices, Indices, Shares]:
        """The records of the ``chosen`` units on this process; how many for each unit, and their weight."""
        # all records of the units, one unit after another; place: the number of a record within its unit
        counts = self.counts[chosen]
        ends = np.cumsum(counts)
        place = np.arange(counts.sum()) - np.repeat(ends - counts, counts)
        rows = self.order[np.repeat(self._starts[chosen], counts) + place]
        owner = np.repeat(np.arange(len(chosen)), counts)
        # units go round the processes, as in ``Ranks.part``
        kept = owner % ranks.size == ranks.rank
        if self.at_most is not None:
            # a random order within each unit, of which the first ``at_most`` stay
            drawn = np.lexsort((stream.words(len(rows)), owner))
            few = np.empty(len(rows), dtype=bool)
            few[drawn] = place < self.at_most
            kept, counts = kept & few, np.minimum(counts, self.at_most)
        counts = ranks.part(counts)
        return rows[kept], counts, 1 / counts if self.average else np.ones(len(counts))


ATOMS = (int, float, complex, str, bytes, bool)
PLAIN = "give each record a number, a text, or a tuple of these, such as keys.tolist()"


def _listed(keys: object) -> list[Any]:
    """One key a record, in order."""
    if isinstance(keys, (Tensor, np.ndarray)) and keys.ndim == 1:
        return list(keys.tolist())
    if isinstance(keys, (Tensor, np.ndarray, str, bytes, Mapping, Set)) or not isinstance(keys, Iterable):
        shape = f" of shape {tuple(keys.shape)}" if isinstance(keys, (Tensor, np.ndarray)) else ""
        raise DataError(f"got {type(keys).__name__}{shape} for the keys of units; expected a list with one key for each record, in order")
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
        raise DataError(f"record {at} has a {type(key).__name__} as its key, which cannot be compared ({error}); {PLAIN}") from error
    if not same:
        raise DataError(
            f"record {at} has a {type(key).__name__} as its key, which is equal to itself alone: each record would be a unit; {PLAIN}"
        )
    return cast("Hashable", key)


def _is_no_number(key: Any) -> bool:
    """Whether it is NaN, or one is in it: a copy is equal to it then, since that holds the same NaN, but no other key is."""
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
        slots = [name for kind in type(key).__mro__ for name in getattr(kind, "__slots__", ()) if hasattr(key, name)]
        held = [*getattr(key, "__dict__", {}).values(), *(getattr(key, name) for name in slots)]
    for part in held:
        yield from _parts(part, seen)


def augmented(loader: Loader, copies: int, transform: Callable[[Any], Any] | None = None) -> Loader:
    r"""Put each record into its batch ``copies`` times, changed at random; clip the mean gradient of these.

    .. math:: S = \sum_{i \in B_t} \mathrm{clip}_C \Big( \frac{1}{K} \sum_{k=1}^K \nabla \ell(T_k(x_i)) \Big)

    One record still adds at most C: the guarantee is the same as without copies.

    Args:
        loader: Changed in place, and returned.
        copies: K; the copies of a record follow one another in the batch.
        transform: A batch to a batch, each row changed by itself; by default the data set changes its records whenever one is asked for.

    Source: De et al., 2022, arXiv:2204.13650.
    """
    if copies < 1:
        raise SettingError(f"got {copies} copies of each record; expected at least 1")
    if loader.copies > 1:
        raise SettingError("got a loader that is augmented already; expected a plain private one")
    loader.copies = copies
    if transform is not None:
        loader.source = _Transformed(loader.source, transform)
    return loader


class _Transformed:
    def __init__(self, source: "Source", transform: Callable[[Any], Any]) -> None:
        self._source, self._transform = source, transform

    def run(self, rows: Iterator[Indices], turn: int) -> Iterator[Any]:
        return map(self._transform, self._source.run(rows, turn))
