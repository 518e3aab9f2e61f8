"""Which dimension of a tensor is the batch, where the module has its batch second."""

from torch import Tensor


def batch_dim_of(x: Tensor, batch_dim: int) -> int:
    """Return the dimension of ``x`` that is the batch, in a module whose batch is dimension ``batch_dim``.

    With the batch second, (T, B, F) and tokens (T, B) have it there; what is left of a sequence has it first
    all the same, such as logits (B, K) or lengths (B,).
    """
    has_time = x.dim() > 2 or (x.dim() == 2 and not x.is_floating_point())
    return batch_dim if has_time else 0
