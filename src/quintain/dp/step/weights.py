"""The weights that a saved state belongs to: those of more steps than its ledger counts would go on for less than they cost."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from quintain.core.errors import PrivacyError


class Weights:
    """Says which weights a state is of, and compares them where one was loaded: at the first step after, whatever was loaded first.

    Args:
        parameters: Those to train, by name; compared in their order, so that a wrapped module has the same.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        self._parameters = parameters
        self._loaded: list[str] | None = None

    @property
    def digests(self) -> list[str]:
        """A hash of each parameter; after a state was loaded and before the next step, those that it told."""
        return self._now if self._loaded is None else self._loaded

    def expect(self, digests: list[str]) -> None:
        """Take note of the weights of a state that is loaded."""
        self._loaded = digests

    def check(self) -> None:
        """Raise if the weights are not those of the state that was loaded; once they were, they may go on."""
        if self._loaded is None:
            return
        now = self._now
        differ = [name for name, one, other in zip(self._parameters, now, self._loaded, strict=False) if one != other]
        if differ or len(now) != len(self._loaded):
            raise PrivacyError(
                f"parameter {(differ or list(self._parameters))[0]!r} ({len(differ)} of {len(now)}) is not what it was when the state "
                "was saved that is loaded: weights of later steps cost more than its ledger counts; expected module and optimizer of one "
                "moment, both loaded before the first step. If these weights follow from nothing but what the ledger counts (fresh ones, "
                "an average of released ones), load the ledger alone: engine.ledger.load_state_dict(state['privacy']['ledger'])"
            )
        self._loaded = None

    @property
    def _now(self) -> list[str]:
        return [digest([parameter]) for parameter in self._parameters.values()]


def digest(values: Iterable[Any]) -> str:
    """A hash of tensors, their formats and shapes, wherever they are; of anything else by its text."""
    found = hashlib.blake2b(digest_size=16)
    for value in values:
        if not isinstance(value, Tensor):
            found.update(repr(value).encode())
            continue
        found.update(f"{value.dtype} {tuple(value.shape)}".encode())
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()
