"""What measures the leaks of each goal."""

from collections.abc import Callable, Mapping

from quintain.evaluate.leaks import agreement, attributes, exposure, membership
from quintain.evaluate.leaks.job import LeakFindings, LeakJob

MEASURES: Mapping[str, Callable[[LeakJob], LeakFindings]] = {
    "agreement": agreement.measure,
    "attributes": attributes.measure,
    "exposure": exposure.measure,
    "membership": membership.measure,
}
"""By the goal of an attack."""
