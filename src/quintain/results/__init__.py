"""What Quintain says: quantities, bounds, brackets, verdicts, records and their JSON. No torch here."""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports
from quintain.results._index import EXPORTS

if TYPE_CHECKING:
    from quintain.results.bounds import Bound as Bound
    from quintain.results.bounds import Bracket as Bracket
    from quintain.results.bounds import Consistency as Consistency
    from quintain.results.class_counts import ClassCounts as ClassCounts
    from quintain.results.evidence import ConfidenceLevels as ConfidenceLevels
    from quintain.results.evidence import CountEvidence as CountEvidence
    from quintain.results.gate import decide as decide
    from quintain.results.per_example import ExampleState as ExampleState
    from quintain.results.per_example import PerExample as PerExample
    from quintain.results.quantity import Basis as Basis
    from quintain.results.quantity import Quantity as Quantity
    from quintain.results.quantity import Side as Side
    from quintain.results.requirements import Requirement as Requirement
    from quintain.results.verdict import Verdict as Verdict

__getattr__, __dir__ = lazy_exports(__name__, EXPORTS)
