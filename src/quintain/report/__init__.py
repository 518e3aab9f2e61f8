"""The report of a run: one self-contained page, the final table, and two runs side by side. Reads records and stored pictures only."""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports

if TYPE_CHECKING:
    from quintain.report.changes import Change as Change
    from quintain.report.changes import compare as compare
    from quintain.report.page import read as read
    from quintain.report.page import render as render
    from quintain.report.page import write as write
    from quintain.report.summary import Row as Row
    from quintain.report.summary import Verdicts as Verdicts
    from quintain.report.summary import every_row as every_row
    from quintain.report.summary import rows as rows
    from quintain.report.summary import verdicts as verdicts

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Change": "quintain.report.changes",
        "Row": "quintain.report.summary",
        "Verdicts": "quintain.report.summary",
        "compare": "quintain.report.changes",
        "every_row": "quintain.report.summary",
        "read": "quintain.report.page",
        "render": "quintain.report.page",
        "rows": "quintain.report.summary",
        "verdicts": "quintain.report.summary",
        "write": "quintain.report.page",
    },
)
