"""Lengths of packed sequences."""

from torch import Tensor

from quintain.dp.opacus.refused import missing_name_getattr

__all__ = ["compute_seq_lengths"]
__getattr__ = missing_name_getattr(__name__)


def compute_seq_lengths(batch_sizes: Tensor) -> list[int]:
    """Lengths of the sequences of a PackedSequence, longest first, from how many go on at each position."""
    return [int((batch_sizes > at).sum()) for at in range(int(batch_sizes[0]))] if len(batch_sizes) else []
