"""What measures the leaks of each goal."""

from collections.abc import Callable, Mapping

from quintain.evaluate.leaks import agreement, attributes, exposure, identity, membership, pictures
from quintain.evaluate.leaks.job import LeakFindings, LeakJob

MEASURES: Mapping[str, Callable[[LeakJob], LeakFindings]] = {
    "agreement": agreement.measure,
    "attributes": attributes.measure,
    "exposure": exposure.measure,
    "identity": identity.measure,
    "membership": membership.measure,
    "pictures": pictures.measure,
}
"""By the goal of an attack."""
