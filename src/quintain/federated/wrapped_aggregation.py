"""An aggregation that is another one in all but what a subclass changes."""

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from quintain.federated.aggregation import Aggregation, Participant, RoundSum
from quintain.federated.secagg.encoding import EncodedVector, Encoding
from quintain.federated.secagg.journal import Journal
from quintain.federated.secagg.keys import Identity
from quintain.federated.secagg.policy import Policy
from quintain.federated.transport import Exchange
from quintain.federated.view import ServerView

FACTS = (
    "name",
    "summary",
    "guarantee",
    "hides_updates",
    "sums_all",
    "stands_colluders",
    "sites_open_sums",
    "replies",
)


class WrappedAggregation(Aggregation):
    """An aggregation whose facts and methods are those of another one.

    Args:
        inner: The other one.
    """

    def __init__(self, inner: Aggregation) -> None:
        self._inner = inner
        for fact in FACTS:
            setattr(self, fact, getattr(inner, fact))

    def join(
        self, policy: Policy, identity: Identity, encoded: EncodedVector, journal: Journal
    ) -> Participant:
        """Take part in the inner aggregation."""
        return self._inner.join(policy, identity, encoded, journal)

    def sum(self, policy: Policy, transport: Exchange) -> RoundSum:
        """Run the server's half of the inner aggregation."""
        return self._inner.sum(policy, transport)

    def encode(
        self, update: NDArray[np.float64], encoding: Encoding, relative_weight: float
    ) -> EncodedVector:
        """Encode an update as the inner aggregation does."""
        return self._inner.encode(update, encoding, relative_weight)

    def opening(self, policy: Policy) -> bytes:
        """Return the first message of the inner aggregation."""
        return self._inner.opening(policy)

    def check_policy(self, policy: Policy) -> None:
        """Refuse what the inner aggregation refuses."""
        self._inner.check_policy(policy)

    def shortage(self, policy: Policy, sites: Collection[int]) -> str:
        """Say what the inner aggregation says of too few sites."""
        return self._inner.shortage(policy, sites)

    def largest_entry(self, encoding: Encoding, relative_weight: float) -> int:
        """Return the bound of the inner aggregation."""
        return self._inner.largest_entry(encoding, relative_weight)

    def count_hidden(self, view: ServerView) -> int:
        """Count the vectors that the inner aggregation hides."""
        return self._inner.count_hidden(view)

    def reference(self, policy: Policy, encoded: Mapping[str, EncodedVector]) -> NDArray[np.int64]:
        """Return the sum without a protocol, as the inner aggregation defines it."""
        return self._inner.reference(policy, encoded)

    def summed_with(self, site: int, num_sites: int) -> Collection[int]:
        """Return the sites that the inner aggregation sums with this one."""
        return self._inner.summed_with(site, num_sites)

    def views(self, view: ServerView) -> tuple[ServerView, ...]:
        """Return the views of the inner aggregation's sums."""
        return self._inner.views(view)

    def protocol(self, num_sites: int, threshold: int) -> str:
        """Say how the inner aggregation made the sum."""
        return self._inner.protocol(num_sites, threshold)

    def check_view(
        self, view: ServerView, truth: Mapping[str, EncodedVector], known_secrets: Collection[bytes]
    ) -> None:
        """Attack what the server saw as the inner aggregation does."""
        self._inner.check_view(view, truth, known_secrets)
