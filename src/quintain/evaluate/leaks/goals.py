"""What measures the leaks of each goal."""

from collections.abc import Callable, Mapping

from quintain.evaluate.leaks import agreement, attributes, membership
from quintain.evaluate.leaks.job import LeakFindings, LeakJob

MEASURES: Mapping[str, Callable[[LeakJob], LeakFindings]] = {
    "agreement": agreement.measure,
    "attributes": attributes.measure,
    "membership": membership.measure,
}
"""By the goal of an attack."""
