"""Write a run as one self-contained page.

No request leaves it, no script runs in it, and it works from a file.
"""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from quintain.core.errors import RunFolderError
from quintain.core.files import write_atomically
from quintain.report.overview import overview
from quintain.report.page_sections import page_sections
from quintain.report.run_results import RunResults
from quintain.report.templating import environment, style
from quintain.results.codec import load
from quintain.results.records import Record
from quintain.results.run_layout import NO_RECORDS, REPORT_FILE


def render(records: Sequence[Record], folder: Path) -> str:
    """The page of a run, whichever of its steps are there.

    Args:
        records: In the order of their steps; at least one.
        folder: Where the pictures lie that the records name.

    Raises:
        RunFolderError: If there is no record at all.
    """
    if not records:
        raise RunFolderError(f"{folder} holds no result to report; run a verb with --out {folder} first")
    run = RunResults.of(records, folder)
    sheet = style("style.css")
    digest = base64.b64encode(hashlib.sha256(sheet.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    page = environment().get_template("page.html")
    return page.render(
        policy=policy, style=Markup(sheet), overview=overview(run), sections=page_sections(run)
    )


def read(folder: Path) -> tuple[Record, ...]:
    """Every record of a run folder, in the order of their names.

    Raises:
        RunFolderError: If it is no folder, holds no record, or one of them cannot be read: none is skipped in
            silence.
    """
    if not folder.is_dir():
        raise RunFolderError(
            f"{folder} is no run folder; expected a folder that a Quintain command wrote with --out"
        )
    records = tuple(load(path) for path in sorted(folder.glob("*.json")) if path.name not in NO_RECORDS)
    if not records:
        raise RunFolderError(f"{folder} holds no result to report; run a verb with --out {folder} first")
    return records


def write(folder: Path) -> Path:
    """Write ``report.html`` into a run folder, whole or not at all, and return its path."""
    path = folder / REPORT_FILE
    write_atomically(path, render(read(folder), folder).encode())
    return path
