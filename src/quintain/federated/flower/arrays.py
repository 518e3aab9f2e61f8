"""The arrays of a Flower message as one vector, and hashes of what a message says."""

from collections.abc import Mapping

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from numpy.typing import NDArray

from quintain.core.errors import ProtocolError
from quintain.federated.secagg.primitives import tagged_hash

Arrays = Mapping[str, NDArray[np.generic]]
Vector = NDArray[np.float64]
PROTOCOL_RECORD = "secagg"
"""The name of the record that carries the messages of the sum."""
ROUND_KEY = "server-round"
"""What Flower's strategies call the number of a round in the configuration of a message."""


def only_arrays(content: RecordDict) -> ArrayRecord:
    """Return the model of a message.

    Raises:
        ProtocolError: Unless there is exactly one record of arrays.
    """
    records = list(content.array_records.values())
    if len(records) != 1:
        raise ProtocolError(f"a message with {len(records)} records of arrays; expected one, the model")
    return records[0]


def to_arrays(record: ArrayRecord) -> dict[str, NDArray[np.generic]]:
    """Return the arrays of a record by name, in order."""
    return {name: array.numpy() for name, array in record.items()}


def to_record(arrays: Arrays) -> ArrayRecord:
    """Return a record of some arrays."""
    return ArrayRecord({name: Array(np.asarray(array)) for name, array in arrays.items()})


def count_numbers(arrays: Arrays) -> int:
    """Count the entries that are trained: those of arrays of floating-point numbers.

    Raises:
        ProtocolError: If there is none.
    """
    length = sum(array.size for array in arrays.values() if is_trained(array))
    if not length:
        raise ProtocolError("a model without an array of floating-point numbers; there is nothing to train")
    return length


def is_trained(array: NDArray[np.generic]) -> bool:
    """Whether an array takes part in a sum; counters, such as BatchNorm's number of batches, do not."""
    return array.dtype.kind == "f"


def hash_arrays(arrays: Arrays) -> bytes:
    """Hash names, order, shapes, types and values."""
    parts = []
    for name, array in arrays.items():
        plain = np.ascontiguousarray(array)
        parts += [name.encode(), str(array.shape).encode(), plain.dtype.str.encode(), plain.tobytes()]
    return tagged_hash("flower model", *parts)


def hash_recipe(content: RecordDict, message_type: str, run_config: Mapping[str, object]) -> str:
    """Hash all that a site is told beside model, sum and number of the round: how it is to train.

    A server that gives one site another learning rate than all others then gets no sum.

    Args:
        content: Of the message: each record's name, and the entries of all but the model.
        message_type: Of the message, by which the app chooses its training function.
        run_config: Of the run, which the app reads beside the message.
    """
    parts = [message_type.encode(), repr(sorted(run_config.items())).encode()]
    for key in sorted(content):
        record = content[key]
        if key == PROTOCOL_RECORD:
            continue
        settings: list[tuple[str, object]] = []
        if isinstance(record, ConfigRecord | MetricRecord):
            left_out = {ROUND_KEY} if isinstance(record, ConfigRecord) else set()
            settings = sorted((name, value) for name, value in record.items() if name not in left_out)
        parts.append(repr((type(record).__name__, key, settings)).encode())
    return tagged_hash("flower recipe", *parts).hex()


def check_round_number(content: RecordDict, counter: int) -> None:
    """Refuse a message that calls the round by another number than its offer.

    Raises:
        ProtocolError: If it does.
    """
    for record in content.config_records.values():
        number = record.get(ROUND_KEY, counter)
        if type(number) is not int or number != counter:
            raise ProtocolError(
                f"the server offers round {counter} and says {number!r} to the app; expected one "
                "number: leave this round"
            )


def update_of(new: Arrays, old: Arrays) -> Vector:
    """Return the change (length,) of all trained arrays, in float64.

    Raises:
        ProtocolError: If names, shapes or types are not those of the model.
    """
    if [(name, one.shape, one.dtype) for name, one in new.items()] != [
        (name, one.shape, one.dtype) for name, one in old.items()
    ]:
        raise ProtocolError(
            "the app returns other arrays than the model's; expected the same names, shapes and types in "
            "the same order"
        )
    return np.concatenate(
        [
            (new[name].astype(np.float64) - array.astype(np.float64)).ravel()
            for name, array in old.items()
            if is_trained(array)
        ]
    )


def apply_change(old: Arrays, change: Vector) -> dict[str, NDArray[np.generic]]:
    """Return a model plus a change (length,), computed in float64 and rounded once to each array's type."""
    arrays, start = dict(old), 0
    for name, array in old.items():
        if is_trained(array):
            part = change[start : start + array.size].reshape(array.shape)
            arrays[name] = (array.astype(np.float64) + part).astype(array.dtype)
            start += array.size
    return arrays
