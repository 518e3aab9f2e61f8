"""The report of a run: one self-contained page, the final table, and two runs side by side.

Reads records and stored pictures only.
"""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports
from quintain.report._index import EXPORTS

if TYPE_CHECKING:
    from quintain.report.changes import compare as compare
    from quintain.report.claim_rows import ClaimRow as ClaimRow
    from quintain.report.claim_rows import VerdictCounts as VerdictCounts
    from quintain.report.claim_rows import all_rows as all_rows
    from quintain.report.claim_rows import count_verdicts as count_verdicts
    from quintain.report.claim_rows import key_rows as key_rows
    from quintain.report.page import read as read
    from quintain.report.page import render as render
    from quintain.report.page import write as write
    from quintain.report.registry import presentation_of as presentation_of
    from quintain.report.registry import summary_lines as summary_lines
    from quintain.results.comparison_records import ClaimChange as ClaimChange

__getattr__, __dir__ = lazy_exports(__name__, EXPORTS)
