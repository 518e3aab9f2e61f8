"""What measures the leaks of each goal."""

from collections.abc import Callable, Mapping

from quintain.evaluate.leaks import agreement, attributes, exposure, identity, membership
from quintain.evaluate.leaks.job import LeakFindings, LeakJob

MEASURES: Mapping[str, Callable[[LeakJob], LeakFindings]] = {
    "agreement": agreement.measure,
    "attributes": attributes.measure,
    "exposure": exposure.measure,
    "membership": membership.measure,
    "identity": identity.measure,
}
"""By the goal of an attack."""
