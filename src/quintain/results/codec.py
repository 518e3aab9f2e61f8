"""Records to JSON and back, infinity included; files are whole or absent."""

from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, from_json, to_json, to_jsonable_python

from quintain.core.errors import RunFolderError, SettingError
from quintain.core.files import read_bytes, write_atomically
from quintain.results.keys import unknown_keys
from quintain.results.records import SCHEMA, Record
from quintain.results.upgrade import from_schema_1
from quintain.version import __version__


def encode(record: Record) -> bytes:
    """Return a record as indented JSON.

    An infinity becomes the string ``Infinity``, a byte of a file's name that is no text a ``?``.
    """
    try:
        return to_json(record, indent=1, inf_nan_mode="strings") + b"\n"
    except PydanticSerializationError:
        return to_json(_as_text(to_jsonable_python(record)), indent=1, inf_nan_mode="strings") + b"\n"


def decode(data: bytes, *, source: str = "record") -> Record:
    """A record from JSON, of this schema or of an older one.

    Args:
        data: What ``encode`` gave.
        source: Named in errors.

    Raises:
        RunFolderError: If it is cut short, of a newer schema, no record, has a key that no record has, or
            holds values that cannot be.
    """
    document = _document(data, source)
    try:
        if document["schema"] == 1:
            document = from_schema_1(document)
        for trouble in unknown_keys(document, Record):
            raise RunFolderError(trouble)
    except RunFolderError as error:
        raise RunFolderError(
            f"{source} holds what this Quintain does not know: {error}; use the Quintain that wrote it, or "
            "delete it and run the step again"
        ) from None
    try:
        return _adapter().validate_json(to_json(document, inf_nan_mode="strings"))
    except SettingError as error:
        raise RunFolderError(
            f"{source} holds what cannot be: {error}; delete it and run the step again"
        ) from None
    except ValidationError as error:
        raise RunFolderError(
            f"{source} is no result of this kind: {_first_trouble(error)}; delete it and run the step again"
        ) from None


def _first_trouble(error: ValidationError) -> str:
    """What is wrong, and where, with the kind of result that the record says it is."""
    troubles = error.errors()
    others = [
        one["loc"][:-1] for one in troubles if one["loc"][-1] == "kind" and one["type"] == "literal_error"
    ]
    own = [one for one in troubles if not any(one["loc"][: len(other)] == other for other in others)]
    deepest = max(own or troubles, key=lambda one: len(one["loc"]))
    return f"{'.'.join(map(str, deepest['loc']))}: {deepest['msg']}"


def _document(data: bytes, source: str) -> dict[str, Any]:
    """The parsed JSON of a record whose schema can be read."""
    try:
        document: dict[str, Any] = from_json(data)
        schema = document.get("schema")
    except (ValueError, AttributeError):
        raise RunFolderError(
            f"{source} is no result file or is cut short; delete it and run the step again"
        ) from None
    if isinstance(schema, int) and schema > SCHEMA:
        raise RunFolderError(
            f"{source} is of schema {schema}; Quintain {__version__} reads schemas 1 to {SCHEMA}: use a "
            "newer Quintain"
        )
    if schema not in range(1, SCHEMA + 1) or isinstance(schema, bool):
        raise RunFolderError(
            f"{source} has schema {schema!r}; expected a number from 1 to {SCHEMA}: it is no result of "
            "Quintain's"
        )
    return document


def save(record: Record, path: Path) -> None:
    """Write a record, whole or not at all."""
    write_atomically(path, encode(record))


def load(path: Path) -> Record:
    """Read a record; a contradiction in it is shown by its consistency, never raised."""
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
