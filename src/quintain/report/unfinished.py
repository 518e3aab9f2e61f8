"""Whether the run of a folder came to its end, by what lies in the folder."""

from collections.abc import Sequence
from pathlib import Path

from quintain.results.records import DrillResult, Record
from quintain.results.run_layout import NO_RECORDS, RESULT_FILE, RUN_SETTINGS_FILE, UNFINISHED


def unfinished_reason(records: Sequence[Record], folder: Path) -> str:
    """Return in one sentence why a run was not finished; empty where it was.

    Args:
        records: Of the run, in the order of its steps.
        folder: The run folder.
    """
    if any(record.verdict and record.verdict.outcome == "INTERRUPTED" for record in records):
        return f"the run was not finished: the record in {folder} is that of an interrupted run"
    if (folder / UNFINISHED).is_dir():
        return f"the run was not finished: its state is in {folder / UNFINISHED}"
    is_drill = not (folder / RESULT_FILE).is_file()
    if is_drill and not any(isinstance(record.result, DrillResult) for record in records):
        return f"the run was not finished: {folder} has the record of {len(records)} steps, and not the last"
    return ""


def unrecorded_reason(folder: Path) -> str:
    """Return in one sentence why a run that was begun in a folder has no record; empty where that is not so.

    Args:
        folder: The run folder.
    """
    if any(path.name not in NO_RECORDS for path in folder.glob("*.json")):
        return ""
    # a drill writes its settings first, every other command after its record
    begun = [folder / name for name in (UNFINISHED, RUN_SETTINGS_FILE) if (folder / name).exists()]
    return f"the run was not finished: it has no record, and its state is in {begun[0]}" if begun else ""
