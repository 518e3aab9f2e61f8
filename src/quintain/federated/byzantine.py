"""Malicious sites for tests and figures: what one makes of the update that it sends."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from quintain.federated.aggregation import Aggregation
from quintain.federated.secagg.encoding import EncodedVector, Encoding
from quintain.federated.wrapped_aggregation import WrappedAggregation

UpdateChange = Callable[[NDArray[np.float64], Encoding], NDArray[np.float64]]
"""What a malicious site makes of its true update (length,), before clip and grid."""


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


class ByzantineAggregation(WrappedAggregation):
    """A malicious site's half of an aggregation: it changes its update, and else plays by the rules.

    Args:
        inner: The aggregation of all.
        change: What it makes of its update.
    """

    def __init__(self, inner: Aggregation, change: UpdateChange) -> None:
        super().__init__(inner)
        self._change = change

    def encode(
        self, update: NDArray[np.float64], encoding: Encoding, relative_weight: float
    ) -> EncodedVector:
        """Encode what the site makes of its update."""
        return super().encode(self._change(update, encoding), encoding, relative_weight)
