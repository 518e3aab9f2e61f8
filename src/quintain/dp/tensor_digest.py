"""One hash of tensors, for saved states and for data of several processes."""

import hashlib
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


def digest(values: Iterable[Any]) -> str:
    """A hash of tensors, their formats and shapes, wherever they are; of anything else by its text."""
    found = hashlib.blake2b(digest_size=16)
    for value in values:
        if not isinstance(value, Tensor):
            found.update(repr(value).encode())
            continue
        found.update(f"{value.dtype} {tuple(value.shape)}".encode())
        plain = value.detach().cpu()
        plain = plain.resolve_conj() if plain.layout == torch.strided else plain.to_dense()
        plain = torch.view_as_real(plain) if plain.is_complex() else plain
        found.update(plain.contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()
