"""Examples with equal values, whatever their labels."""

from collections.abc import Iterable

from quintain.core.files import sha256
from quintain.data.dataset import READ_BATCH_SIZE, Dataset, canonical_bytes


def example_hashes(data: Dataset) -> list[str]:
    """Return a hash of the values of each example, in order, without its label."""
    return [sha256(canonical_bytes(one)) for batch in data.batches(READ_BATCH_SIZE) for one in batch.x]


def first_positions(hashes: Iterable[str]) -> dict[str, int]:
    """Return where each hash comes first."""
    first: dict[str, int] = {}
    for position, one in enumerate(hashes):
        first.setdefault(one, position)
    return first
