"""Steps from one floating-point number to the next, so that no bound is exceeded, not even by one ulp."""

from functools import lru_cache

import torch
from torch import Tensor

_BITS = {
    torch.float16: torch.int16,
    torch.bfloat16: torch.int16,
    torch.float32: torch.int32,
    torch.float64: torch.int64,
}


def next_float(x: Tensor, side: int) -> Tensor:
    """Return the next number above (``side`` = 1) or below (-1), in the dtype of ``x``.

    Like ``nextafter``, but vectorized.
    """
    # IEEE floats as sign-magnitude integers -> two's complement order -> +-1 -> back; -0 and +0 are neighbors
    bits = x.contiguous().view(_BITS[x.dtype])
    limit = torch.iinfo(bits.dtype)
    ordered = bits ^ ((bits >> (limit.bits - 1)) & limit.max)
    moved = ordered + side
    return (moved ^ ((moved >> (limit.bits - 1)) & limit.max)).view(x.dtype)


@lru_cache(maxsize=64)
def representable_box(low: float, high: float, dtype: torch.dtype) -> tuple[float, float]:
    """Return the widest box of numbers of a dtype inside [low, high]."""
    # low and high may not be numbers of the dtype: round the box inwards
    edges = torch.tensor([low, high], dtype=torch.float64).to(dtype)
    inner, outer = (float(next_float(edges, side)[index]) for index, side in ((0, 1), (1, -1)))
    return (
        inner if float(edges[0]) < low else float(edges[0]),
        outer if float(edges[1]) > high else float(edges[1]),
    )
