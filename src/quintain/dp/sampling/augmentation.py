"""Augmentation multiplicity: several random versions of each record, whose mean gradient is clipped."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from quintain.core.errors import SettingError
from quintain.core.limits import require_at_least
from quintain.dp.sampling.batch_source import BatchSource
from quintain.dp.sampling.loader import SamplingLoader
from quintain.dp.sampling.physical_batch import Indices

LoaderT = TypeVar("LoaderT", bound=SamplingLoader[Any])


def augment(
    loader: LoaderT, augmentations_per_record: int, transform: Callable[[Any], Any] | None = None
) -> LoaderT:
    r"""Augment each record of a batch several times at random, and clip the mean gradient of its copies.

    .. math:: S = \sum_{i \in B_t} \mathrm{clip}_C \Big( \frac{1}{K} \sum_{k=1}^K \nabla \ell(T_k(x_i)) \Big)

    One record still adds at most C to the sum, so the guarantee is the same as without copies.

    Args:
        loader: The private loader, which is changed in place.
        augmentations_per_record: K, the number of copies; those of a record follow one another in the batch.
        transform: Takes a batch and returns it with each row augmented independently of the others. If not
            given, the data set must augment records when they are read.

    Returns:
        The same loader.

    Raises:
        SettingError: If the number of copies is no whole number of at least 1, or the loader augments
            already.

    Source: De et al., 2022, arXiv:2204.13650.
    """
    require_at_least(1, augmentations_per_record=augmentations_per_record)
    if loader.augmentations_per_record > 1 or isinstance(loader.batch_source, _TransformedSource):
        raise SettingError("got a loader that is augmented already; expected a plain private one")
    loader.augmentations_per_record = augmentations_per_record
    if transform is not None:
        loader.batch_source = _TransformedSource(loader.batch_source, transform)
    return loader


class _TransformedSource:
    """A source of batches that applies a function to each batch of another source."""

    def __init__(self, source: BatchSource[Any], transform: Callable[[Any], Any]) -> None:
        self._source, self._transform = source, transform

    def iter_batches(self, rows: Iterator[Indices], first_batch: int) -> Iterator[Any]:
        return map(self._transform, self._source.iter_batches(rows, first_batch))
