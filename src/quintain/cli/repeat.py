"""A run folder that holds its result answers again: the same command shows what is stored, without work."""

import os
from dataclasses import fields
from pathlib import Path

from quintain.cli.call import VerbCall
from quintain.cli.run_settings import current_command, refuse_other_settings
from quintain.core.errors import ExitCode
from quintain.results.run_layout import RESULT_FILE, RUN_SETTINGS_FILE, UNFINISHED


def repeat_finished() -> int | None:
    """Show the stored result of a finished run of the command, and decide the requirements anew.

    Returns:
        The exit code; None where there is nothing to repeat.

    Raises:
        RunFolderError: If the folder holds the result of a run of other settings; the difference is named.
    """
    verb, words = current_command()
    out = words.get("out")
    if not isinstance(out, Path) or not all(
        (out / name).is_file() for name in (RESULT_FILE, RUN_SETTINGS_FILE)
    ):
        return None
    if (out / UNFINISHED).is_dir():
        return None
    refuse_other_settings(out)
    if os.environ.get("RANK", "0") != "0":
        return ExitCode.OK

    from quintain.results.codec import load

    known = {one.name for one in fields(VerbCall)}
    given = {name: _frozen(value) for name, value in words.items() if name in known and value is not None}
    return VerbCall(verb=verb, **given).repeat(load(out / RESULT_FILE))  # type: ignore[arg-type]


def _frozen(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value
