"""``quintain schema``."""

from quintain.cli.commands.command import Command


def run() -> int:
    import sys

    from quintain.core.errors import ExitCode
    from quintain.results.json_schema import SCHEMA_FILE

    sys.stdout.write(SCHEMA_FILE.read_text(encoding="utf-8"))
    return ExitCode.OK


VERB = Command(
    "schema",
    run,
    "Print the JSON Schema (2020-12) of a record, for programs that read result.json.",
    ("", "> record.schema.json"),
)
