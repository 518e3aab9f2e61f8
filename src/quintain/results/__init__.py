"""What Quintain says: quantities, bounds, brackets, verdicts, records and their JSON. No torch here."""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports

if TYPE_CHECKING:
    from quintain.results.bounds import Bound as Bound
    from quintain.results.bounds import Bracket as Bracket
    from quintain.results.bounds import Status as Status
    from quintain.results.evidence import Counted as Counted
    from quintain.results.evidence import Levels as Levels
    from quintain.results.gate import judge as judge
    from quintain.results.quantity import Basis as Basis
    from quintain.results.quantity import Quantity as Quantity
    from quintain.results.quantity import Side as Side
    from quintain.results.requirements import Requirement as Requirement
    from quintain.results.states import PerExample as PerExample
    from quintain.results.states import State as State
    from quintain.results.tally import Tally as Tally
    from quintain.results.verdict import Verdict as Verdict

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Basis": "quintain.results.quantity",
        "Bound": "quintain.results.bounds",
        "Bracket": "quintain.results.bounds",
        "Counted": "quintain.results.evidence",
        "Levels": "quintain.results.evidence",
        "PerExample": "quintain.results.states",
        "Quantity": "quintain.results.quantity",
        "Requirement": "quintain.results.requirements",
        "Side": "quintain.results.quantity",
        "State": "quintain.results.states",
        "Status": "quintain.results.bounds",
        "Tally": "quintain.results.tally",
        "Verdict": "quintain.results.verdict",
        "judge": "quintain.results.gate",
    },
)
