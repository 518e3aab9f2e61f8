"""Tracks which batch each yielded tensor is of, so that a stale one is not used for a later batch."""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple
from weakref import ref

import torch
from torch import Tensor


class _YieldedTensor(NamedTuple):
    """A tensor that was yielded, as long as anything holds it.

    Args:
        tensor: Without holding it.
        batch_number: Number of its batch; of a tensor that is yielded again and again, that of the latest.
        version: How often it had been written, as far as torch counts.
    """

    tensor: "ref[Tensor]"
    batch_number: int
    version: int


class YieldedTensors:
    """The tensors that were yielded, and slices of them; copies are not tracked."""

    def __init__(self) -> None:
        self._by_id: dict[int, _YieldedTensor] = {}

    def add(self, batch: Any, batch_number: int) -> None:
        """Track a batch, or a part of one, that is yielded now."""
        for x in tensors_in(batch):
            name = id(x)
            # called with the dead reference, which is what pop gives where the name is gone already
            forget = partial(self._by_id.pop, name)
            self._by_id[name] = _YieldedTensor(ref(x, forget), batch_number, _version(x))

    def is_part_of(self, batch: Any, x: Tensor) -> bool:
        """Whether a tensor is one of this batch, or a part of one, unchanged since it was yielded."""
        parts, version = tensors_in(batch), _version(x)
        for part in parts:
            if part is x:
                kept = self._by_id.get(id(x))
                return kept is not None and kept.version == version
        return any(
            _within(x, part) and (kept := self._by_id.get(id(part))) is not None and kept.version == version
            for part in parts
        )

    def is_of_earlier_batch(self, x: Tensor, batch_number: int) -> bool:
        """Whether a tensor is wholly of another batch that was yielded, and of none with this number."""
        alive = [(one.batch_number, one.tensor()) for one in tuple(self._by_id.values())]
        draws = {at for at, tensor in alive if tensor is not None and _within(x, tensor)}
        return bool(draws) and batch_number not in draws


def tensors_in(held: Any) -> list[Tensor]:
    """All tensors in nested lists and dicts."""
    if isinstance(held, Tensor):
        return [held]
    if isinstance(held, Mapping):
        held = list(held.values())
    if not isinstance(held, (list, tuple)):
        return []
    return [x for part in held for x in ((part,) if type(part) is Tensor else tensors_in(part))]


def _within(x: Tensor, whole: Tensor) -> bool:
    """Whether all numbers of a tensor lie in the memory that another one spans."""
    if x.device != whole.device:
        return False
    mine, other = _span(x), _span(whole)
    return other[0] <= mine[0] < mine[1] <= other[1]


def _span(x: Tensor) -> tuple[int, int]:
    """Where the numbers of a tensor begin and end; nowhere, if it has no memory of its own."""
    if x.layout != torch.strided or x.is_nested or not x.numel():
        return 0, 0
    try:
        start = x.data_ptr()
    except RuntimeError:
        return 0, 0
    last = sum(step * (size - 1) for step, size in zip(x.stride(), x.shape, strict=True))
    return start, start + x.element_size() * (last + 1)


def _version(x: Tensor) -> int:
    return 0 if x.is_inference() else x._version
