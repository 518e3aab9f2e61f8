"""Malicious sites for tests and figures: what one does to its data, or to the update that it sends."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from quintain.data.dataset import Dataset, from_arrays
from quintain.federated.aggregation import Aggregation
from quintain.federated.secagg.encoding import EncodedVector, Encoding
from quintain.federated.wrapped_aggregation import WrappedAggregation

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
