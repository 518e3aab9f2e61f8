"""State of the module that a pass writes: it would be released, or reach the next batch, without noise."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from quintain.core.errors import PrivacyError
from quintain.dp.capture.hooks import Capture
from quintain.dp.guards.reachable_tensors import MAX_SMALL_TENSOR, Place, reachable_tensors

HASH_CHUNK = 1 << 18
"""Numbers that are hashed at a time."""

INTEGERS = {1: torch.int8, 2: torch.int16}


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """The module's tensors before a pass.

    Args:
        thorough: Whether the values of large tensors are compared, too.
        tensors: All tensors by place, each once.
        versions: How often each large tensor had been written in place, as far as torch knows.
        small: The values of the small tensors, concatenated by format.
        hashes: Hashes of the large tensors, in a thorough check.
    """

    thorough: bool
    tensors: Mapping[Place, Tensor]
    versions: Mapping[Place, int]
    small: tuple[tuple[tuple[Place, ...], Tensor], ...]
    hashes: Mapping[Place, Tensor]


class StateGuard:
    """Refuses a pass that writes parameters, buffers, or tensors and arrays in attributes of modules.

    Attributes are searched with the lists, dicts, objects and functions (bound arguments and closures) in
    them.

    Values are compared before the forward pass, after it, and before the step, so that every way of writing
    them is noticed, ``.data`` and views of NumPy included. Small tensors are compared at every pass; large
    ones at the first passes and then at random, and otherwise by torch's own count of writes. Passes in
    training mode are checked, and those in evaluation mode with gradients enabled; one that ends with an
    exception is refused afterwards. What was written stays written, so that a refusal is final: see the
    message.

    Args:
        capture: The capture of the module to train.
        is_thorough: Returns whether the next pass is checked in full.
    """

    def __init__(self, capture: Capture, is_thorough: Callable[[], bool]) -> None:
        self._capture, self._is_thorough = capture, is_thorough
        self._before: Snapshot | None = None
        self._running = False
        self._refusal: str | None = None
        self._root = root = capture.root
        self._modules = list(root.named_modules())
        self._weights: dict[torch.device, Tensor] = {}
        capture.add_handles(
            root.register_forward_pre_hook(
                lambda module, _args: self._on_forward_begin() if module is root else None
            ),
            root.register_forward_hook(
                lambda module, _args, output: (
                    self._on_forward_end(failed=output is None) if module is root else None
                ),
                always_call=True,
            ),
        )

    def check(self) -> None:
        """Raise if the latest pass, its backward pass included, or an earlier one has written anything."""
        if self._refusal is None and self._before is not None:
            self._refusal = self._refusal_for_change_since(self._before)
        if self._refusal is not None:
            raise PrivacyError(self._refusal)

    def _on_forward_begin(self) -> None:
        capture = self._capture
        if not (capture.is_attached and capture.enabled and (self._root.training or torch.is_grad_enabled())):
            return
        if self._refusal is not None and self._root.training:
            raise PrivacyError(self._refusal)
        thorough = self._is_thorough()
        if thorough:
            self._modules = list(self._root.named_modules())
        self._before, self._running = self._snapshot(thorough), True

    def _on_forward_end(self, *, failed: bool) -> None:
        """Check the state after a forward pass; if that failed, the refusal is raised at the next one."""
        if not (self._running and self._capture.enabled and self._before is not None):
            return
        self._running = False
        self._refusal = self._refusal_for_change_since(self._before)
        if self._refusal is not None and not failed:
            raise PrivacyError(self._refusal)

    def _snapshot(self, thorough: bool) -> Snapshot:
        tensors = reachable_tensors(self._modules, thorough=thorough)
        formats: dict[tuple[torch.device, torch.dtype], list[Place]] = {}
        for place, x in tensors.items():
            if x.numel() <= MAX_SMALL_TENSOR:
                formats.setdefault((x.device, x.dtype), []).append(place)
        with torch.no_grad():
            small = tuple(
                (tuple(places), _concatenate_bits([tensors[place] for place in places]))
                for places in formats.values()
            )
            hashes = (
                {place: self._hash(x) for place, x in tensors.items() if x.numel() > MAX_SMALL_TENSOR}
                if thorough
                else {}
            )
        versions = {place: _version(x) for place, x in tensors.items() if x.numel() > MAX_SMALL_TENSOR}
        return Snapshot(thorough, tensors, versions, small, hashes)

    @torch.no_grad()
    def _refusal_for_change_since(self, before: Snapshot) -> str | None:
        """Return the message of the refusal for the first tensor that has changed, if there is one."""
        after = reachable_tensors(self._modules, thorough=before.thorough)
        for place, x in after.items():
            known = before.tensors.get(place)
            if known is None or (x is not known and not _have_same_bits(x, known)):
                return self._refusal_text(place, x)
        for place in before.tensors.keys() - after.keys():
            return self._refusal_text(place, before.tensors[place])
        for places, values in before.small:
            now = _concatenate_bits([before.tensors[place] for place in places])
            if not torch.equal(now, values):
                sizes = [before.tensors[place].numel() for place in places]
                parts = zip(
                    places,
                    now.split(_split_sizes(now, sizes)),
                    values.split(_split_sizes(now, sizes)),
                    strict=True,
                )
                return self._refusal_text(
                    place := next(p for p, one, other in parts if not torch.equal(one, other)),
                    before.tensors[place],
                )
        for place, version in before.versions.items():
            if _version(before.tensors[place]) != version:
                return self._refusal_text(place, before.tensors[place])
        for place, value in before.hashes.items():
            if not torch.equal(self._hash(before.tensors[place]), value):
                return self._refusal_text(place, before.tensors[place])
        return None

    def _refusal_text(self, place: Place, x: Tensor) -> str:
        prefix, key = place
        name = f"{prefix}.{key}" if prefix else key
        owner = dict(self._modules).get(prefix)
        final = (
            "what was written is in the model now: go back to a state of before, and call make_private again"
        )
        if owner is not None and key in owner._buffers:
            return (
                f"buffer {name!r} was written by a pass, and no noise is added to buffers; expected none to "
                f"change: use a layer without running statistics, or keep it in evaluation mode; {final}"
            )
        if isinstance(x, nn.Parameter):
            return (
                f"parameter {name!r} was written by a pass, past the clip and the noise; expected none to "
                f"change before the step: initialize it before make_private, from public numbers; {final}"
            )
        return (
            f"attribute {name!r}, a tensor of shape {tuple(x.shape)}, was written by a pass: it could carry "
            "records, past the noise, into the saved module or the next batch; expected none to change: "
            "return it, or keep it outside the module; fill a table that does not depend on records "
            "(positions, masks) before training, by a pass over made-up inputs of the largest size in "
            f"evaluation mode under torch.no_grad(); {final}"
        )

    def _hash(self, x: Tensor) -> Tensor:
        """Return a hash of each piece, a sum with secret odd weights.

        A single change always changes it; several changes go unnoticed with probability about 2^-32.
        """
        weights = self._weights.get(x.device)
        if weights is None:
            weights = torch.from_numpy(np.frombuffer(os.urandom(4 * HASH_CHUNK), dtype=np.int32) | 1).to(
                x.device
            )
            self._weights[x.device] = weights
        return torch.stack(
            [
                (piece.int() * weights[: len(piece)]).sum()
                for piece in _bits(x.detach().reshape(-1)).split(HASH_CHUNK)
            ]
        )


def _version(x: Tensor) -> int:
    return 0 if x.is_inference() else x._version


def _bits(flat: Tensor) -> Tensor:
    """Return the bits of a flat tensor as integers, in which NaN equals itself."""
    return flat.contiguous().view(INTEGERS.get(flat.element_size(), torch.int32))


def _concatenate_bits(tensors: list[Tensor]) -> Tensor:
    """Return the bits of all values, concatenated, as integers."""
    return _bits(torch.cat([x.reshape(-1) for x in tensors]))


def _split_sizes(joined: Tensor, sizes: list[int]) -> list[int]:
    """The same sizes in the integers of ``joined``."""
    per = len(joined) // max(1, sum(sizes))
    return [size * per for size in sizes]


def _have_same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors hold the same numbers."""
    return (one.shape, one.dtype) == (other.shape, other.dtype) and torch.equal(
        _concatenate_bits([one]), _concatenate_bits([other.to(one.device)])
    )
