"""Records to JSON and back, infinity included; files are whole or absent."""

from functools import cache
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from quintain.core.errors import RunFolderError
from quintain.core.store import read_bytes, write_atomically
from quintain.results.records import SCHEMA, Record


def encode(record: Record) -> bytes:
    """A record as indented JSON; an infinity becomes the string ``Infinity``."""
    return to_json(record, indent=1, inf_nan_mode="strings") + b"\n"


def decode(data: bytes, *, source: str = "record") -> Record:
    """A record from JSON.

    Args:
        data: What ``encode`` gave.
        source: Named in errors.

    Raises:
        RunFolderError: If it is cut short, of a newer schema, or no record.
    """
    try:
        schema = from_json(data).get("schema")
    except (ValueError, AttributeError):
        raise RunFolderError(f"{source} is no result file or is cut short; delete it and run the step again") from None
    if schema != SCHEMA:
        raise RunFolderError(f"{source} has schema {schema!r}; this version reads {SCHEMA}: use the Quintain that wrote it")
    try:
        return _adapter().validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise RunFolderError(f"{source} is no result of this kind: {place}: {first['msg']}; delete it and run the step again") from None


def save(record: Record, path: Path) -> None:
    """Write a record, whole or not at all."""
    write_atomically(path, encode(record))


def load(path: Path) -> Record:
    """Read a record; a contradiction in it is shown by its status, never raised."""
    return decode(read_bytes(path), source=str(path))


@cache
def _adapter() -> TypeAdapter[Record]:
    return TypeAdapter(Record)
