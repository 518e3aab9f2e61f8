"""Records to JSON and back, infinity included; files are whole or absent."""

from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, from_json, to_json, to_jsonable_python

from quintain.core.errors import RunFolderError, SettingError
from quintain.core.store import read_bytes, write_atomically
from quintain.results.records import SCHEMA, Record


def encode(record: Record) -> bytes:
    """A record as indented JSON; an infinity becomes the string ``Infinity``, a byte of a file's name that is no text a ``?``."""
    try:
        return to_json(record, indent=1, inf_nan_mode="strings") + b"\n"
    except PydanticSerializationError:
        return to_json(_as_text(to_jsonable_python(record)), indent=1, inf_nan_mode="strings") + b"\n"


def decode(data: bytes, *, source: str = "record") -> Record:
    """A record from JSON.

    Args:
        data: What ``encode`` gave.
        source: Named in errors.

    Raises:
        RunFolderError: If it is cut short, of a newer schema, no record, or holds values that cannot be.
    """
    try:
        schema = from_json(data).get("schema")
    except (ValueError, AttributeError):
        raise RunFolderError(f"{source} is no result file or is cut short; delete it and run the step again") from None
    if schema != SCHEMA:
        raise RunFolderError(f"{source} has schema {schema!r}; this version reads {SCHEMA}: use the Quintain that wrote it")
    try:
        return _adapter().validate_json(data)
    except SettingError as error:
        raise RunFolderError(f"{source} holds what cannot be: {error}; delete it and run the step again") from None
    except ValidationError as error:
        deepest = max(error.errors(), key=lambda one: len(one["loc"]))  # the kind of body that fits best says what is wrong
        place = ".".join(map(str, deepest["loc"]))
        raise RunFolderError(f"{source} is no result of this kind: {place}: {deepest['msg']}; delete it and run the step again") from None


def save(record: Record, path: Path) -> None:
    """Write a record, whole or not at all."""
    write_atomically(path, encode(record))


def load(path: Path) -> Record:
    """Read a record; a contradiction in it is shown by its status, never raised."""
    return decode(read_bytes(path), source=str(path))


def _as_text(value: Any) -> Any:
    """JSON's values with each string fit for UTF-8."""
    match value:
        case str():
            return value.encode(errors="replace").decode()
        case list():
            return [_as_text(part) for part in value]
        case dict():
            return {key: _as_text(part) for key, part in value.items()}
    return value


@cache
def _adapter() -> TypeAdapter[Record]:
    return TypeAdapter(Record)
