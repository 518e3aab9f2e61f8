"""The JSON Schema of a record, for programs that read records without Quintain.

The schema that is shipped is a file beside this one. ``make format`` writes it from the records' types, and a
test says when it is stale.
"""

import inspect
import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import core_schema

from quintain.core.files import write_atomically
from quintain.results.records import SCHEMA, Record

SCHEMA_FILE = Path(__file__).with_name("record.schema.json")
"""The schema that is shipped."""

SCHEMA_ID = f"urn:quintain:record:{SCHEMA}"
"""The name of the schema; it changes with the version of the form of records alone."""

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class _RecordSchema(GenerateJsonSchema):
    """Pydantic's schema, with numbers as records write them and a name at the top.

    A name further down would be the base of every reference below it.
    """

    def float_schema(self, schema: core_schema.FloatSchema) -> JsonSchemaValue:
        """Return the schema of a number, which JSON has no word for where it is not finite."""
        return {"anyOf": [super().float_schema(schema), {"enum": ["Infinity", "-Infinity", "NaN"]}]}

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> JsonSchemaValue:
        """Return the schema of a class, described by the first sentence of its docstring."""
        made = super().dataclass_schema(schema)
        return {**made, "description": inspect.cleandoc(schema["cls"].__doc__ or "").partition("\n")[0]}

    def generate(
        self, schema: core_schema.CoreSchema, mode: JsonSchemaMode = "validation"
    ) -> JsonSchemaValue:
        """Return the whole schema."""
        body = super().generate(schema, mode)
        for definition in body["$defs"].values():
            _require_kind(definition)
            for name, wanted in definition.get("properties", {}).items():
                definition["properties"][name] = _same_for_all_versions(wanted)
        body["properties"]["schema"] = {"const": SCHEMA}
        return {
            "$schema": DIALECT,
            "$id": SCHEMA_ID,
            **body,
            "title": f"A record of Quintain, schema {SCHEMA}",
        }


def record_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a record as it is written.

    Every record of this version of the form is valid, also one of before: what has come later has a default
    and need not be there, and what is still to come is allowed.
    """
    return TypeAdapter(Record).json_schema(schema_generator=_RecordSchema)


def schema_text() -> str:
    """Return the schema as it is shipped."""
    return json.dumps(record_schema(), indent=1, sort_keys=True) + "\n"


def _same_for_all_versions(wanted: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a field as the newest Pydantic gives it, without what older ones say twice."""
    left = {key: value for key, value in wanted.items() if key != "enum" or "const" not in wanted}
    (only,) = left.pop("allOf", [{}])
    return {**only, **left}


def write_schema() -> None:
    """Write the schema that is shipped."""
    write_atomically(SCHEMA_FILE, schema_text().encode())


def _require_kind(definition: dict[str, Any]) -> None:
    """Require the word by which results of several types are told apart, so that one fits one type alone."""
    if "const" in definition.get("properties", {}).get("kind", {}):
        definition["required"] = sorted({*definition.get("required", ()), "kind"})
