"""``quintain schema``."""

from quintain.cli.commands.command import Command


def run() -> int:
    from quintain.cli.output_files import write_standard_output
    from quintain.core.errors import ExitCode
    from quintain.results.json_schema import SCHEMA_FILE

    write_standard_output(SCHEMA_FILE.read_text(encoding="utf-8"))
    return ExitCode.OK


VERB = Command(
    "schema",
    run,
    "Print the JSON Schema (2020-12) of a record, for programs that read result.json.",
    ("", "> record.schema.json"),
)
