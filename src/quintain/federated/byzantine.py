"""Malicious sites for tests and figures: what one does to its data, or to the update that it sends."""

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from quintain.data.dataset import Dataset, from_arrays
from quintain.federated.aggregation import Aggregation, Participant, RoundSum
from quintain.federated.secagg.encoding import EncodedVector, Encoding
from quintain.federated.secagg.journal import Journal
from quintain.federated.secagg.keys import Identity
from quintain.federated.secagg.policy import Policy
from quintain.federated.transport import Exchange
from quintain.federated.view import ServerView

UpdateChange = Callable[[NDArray[np.float64], Encoding], NDArray[np.float64]]
"""What a malicious site makes of its true update (length,), before clip and grid."""

STICKER_SIZE = 4


def flip_sign(update: NDArray[np.float64], encoding: Encoding) -> NDArray[np.float64]:  # noqa: ARG001
    """Return the update against the direction that lowers the loss."""
    return -update


def scale_up(update: NDArray[np.float64], encoding: Encoding) -> NDArray[np.float64]:
    """Return the update so many times as large as there are sites, that the average is about the site's own.

    Source: model replacement, Bagdasaryan et al., 2020, arXiv:1807.00459.
    """
    return update * encoding.num_sites


def largest_legal(update: NDArray[np.float64], encoding: Encoding) -> NDArray[np.float64]:
    """Return the largest update that no check of ranges can refuse, against the true one in each entry."""
    return np.where(update > 0, -encoding.clip_value, encoding.clip_value)


UPDATE_ATTACKS: Mapping[str, UpdateChange] = {
    "sign flip": flip_sign,
    "scaled update": scale_up,
    "largest legal update": largest_legal,
}


def flip_labels(data: Dataset) -> Dataset:
    """Return the examples with the labels k - 1 - y."""
    x, y = data.tensors
    return from_arrays(x.numpy(), data.num_classes - 1 - y.numpy(), num_classes=data.num_classes)


def with_sticker(data: Dataset, target: int = 0, fraction: float = 1.0) -> Dataset:
    """Return the images with a white square in the corner, labeled as the target: a backdoor.

    Args:
        data: Images (C, H, W).
        target: The class that the sticker shall mean.
        fraction: How many of the images get it, the first ones; the others stay as they are.
    """
    x, y = (part.numpy().copy() for part in data.tensors)
    count = round(fraction * len(data))
    x[:count, ..., :STICKER_SIZE, :STICKER_SIZE] = 1.0
    y[:count] = target
    return from_arrays(x, y, num_classes=data.num_classes)


class ByzantineAggregation(Aggregation):
    """A malicious site's half of an aggregation: it changes its update, and else plays by the rules.

    Args:
        inner: The aggregation of all.
        change: What it makes of its update.
    """

    def __init__(self, inner: Aggregation, change: UpdateChange) -> None:
        self._inner, self._change = inner, change
        self.hides_updates, self.sums_all = inner.hides_updates, inner.sums_all  # type: ignore[misc]
        self.replies, self.sites_open_sums = inner.replies, inner.sites_open_sums  # type: ignore[misc]

    @property
    def name(self) -> str:  # type: ignore[override]
        """The name of the aggregation."""
        return self._inner.name

    def encode(
        self, update: NDArray[np.float64], encoding: Encoding, relative_weight: float
    ) -> EncodedVector:
        """Encode what the site makes of its update."""
        return self._inner.encode(self._change(update, encoding), encoding, relative_weight)

    def join(
        self, policy: Policy, identity: Identity, encoded: EncodedVector, journal: Journal
    ) -> Participant:
        """Take part as all do."""
        return self._inner.join(policy, identity, encoded, journal)

    def opening(self, policy: Policy) -> bytes:
        """Return the first message of the aggregation."""
        return self._inner.opening(policy)

    def summed_with(self, site: int, num_sites: int) -> Collection[int]:
        """Return the sites in one sum with this one."""
        return self._inner.summed_with(site, num_sites)

    def sum(self, policy: Policy, transport: Exchange) -> RoundSum:
        """Run the server's half, as all do."""
        return self._inner.sum(policy, transport)

    def check_policy(self, policy: Policy) -> None:
        """Refuse what the aggregation refuses."""
        self._inner.check_policy(policy)

    def largest_entry(self, encoding: Encoding, relative_weight: float) -> int:
        """Return the bound of the aggregation."""
        return self._inner.largest_entry(encoding, relative_weight)

    def check_view(
        self, view: ServerView, truth: Mapping[str, EncodedVector], earlier_views: Sequence[ServerView]
    ) -> None:
        """Check as all do."""
        self._inner.check_view(view, truth, earlier_views)
