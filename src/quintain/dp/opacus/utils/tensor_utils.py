"""Helpers for per-example gradients that training scripts use."""

from collections.abc import Iterator

import torch
from torch import Tensor

from quintain.dp.opacus.refused import missing_name_getattr
from quintain.dp.per_example.numerics import flatten_examples as flattened

__all__ = ["calc_sample_norms", "calc_sample_norms_one_layer", "sum_over_all_but_batch_and_last_n"]
__getattr__ = missing_name_getattr(__name__)


def calc_sample_norms(named_params: Iterator[tuple[str, Tensor]], flat: bool = True) -> list[Tensor]:
    """Norms (B,) of per-example gradients (B, *shape): of each by itself, or in one entry of all together."""
    norms = [calc_sample_norms_one_layer(gradient) for _, gradient in named_params]
    return [torch.stack(norms).norm(dim=0)] if flat else norms


def calc_sample_norms_one_layer(param: Tensor) -> Tensor:
    """Norms (B,) of (B, *shape)."""
    return flattened(param).norm(dim=1)


def sum_over_all_but_batch_and_last_n(tensor: Tensor, n_dims: int) -> Tensor:
    """Sums over the dimensions between the first and the last ``n_dims``."""
    between = tuple(range(1, tensor.dim() - n_dims))
    return tensor.sum(between) if between else tensor
