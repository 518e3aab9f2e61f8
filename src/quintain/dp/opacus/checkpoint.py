"""Checkpoints of private training: weights, optimizer, schedulers and the privacy ledger in one file.

Reading one runs no code.
"""

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from quintain.core.errors import PrivacyError
from quintain.core.files import read_bytes, write_atomically
from quintain.dp.accounting.checksum import CHECKSUM_KEY, add_checksum, verified_content
from quintain.dp.accounting.ledger import Ledger
from quintain.dp.tensor_digest import digest

OWNER_ONLY_MODE = 0o600
WEIGHTS_KEY = "module_state_dict"
LEDGER_KEY, WEIGHTS_DIGEST_KEY = "privacy_accountant_state_dict", "privacy_weights"
STATE_KEYS = ("optimizer_state_dict", "noise_scheduler_state_dict", "grad_clip_scheduler_state_dict")


class Stateful(Protocol):
    """An object with a state, as PyTorch's optimizers and schedulers have one."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...


def save(
    path: str | os.PathLike[str], content: Mapping[str, Any], ledger: Ledger, *components: Stateful | None
) -> None:
    """Write a checkpoint atomically, readable by its owner alone.

    Args:
        path: The file.
        content: The weights under ``WEIGHTS_KEY``, and anything else that is to be stored.
        ledger: The private steps so far.
        components: Optimizer and schedulers, in the order of ``STATE_KEYS``; None where there is none.
    """
    states = {
        name: part.state_dict() for name, part in zip(STATE_KEYS, components, strict=True) if part is not None
    }
    packed, spent = io.BytesIO(), ledger.state_dict()
    torch.save(
        {**content, LEDGER_KEY: spent, WEIGHTS_DIGEST_KEY: _weights_digest(content, spent), **states}, packed
    )
    write_atomically(Path(path), packed.getvalue(), mode=OWNER_ONLY_MODE)


def load(path: str | os.PathLike[str], *, has_optimizer: bool, map_location: Any = None) -> dict[str, Any]:
    """Read what ``save`` wrote: tensors, numbers, texts and containers of these, never code.

    Raises:
        PrivacyError: If it holds anything else, has no weights or no ledger, if weights and ledger were not
            saved together, or if just one of the file and the caller has an optimizer.
    """
    packed = io.BytesIO(read_bytes(Path(path)))
    try:
        content = torch.load(packed, map_location=map_location, weights_only=True)
    except Exception as error:  # torch.load raises many classes for a file that is not a checkpoint
        raise PrivacyError(
            f"cannot read {path} ({type(error).__name__}); expected a file that save_checkpoint wrote"
        ) from error
    if not isinstance(content, dict) or LEDGER_KEY not in content:
        raise PrivacyError(
            f"{path} does not say what was spent; expected a file that save_checkpoint wrote, or its steps "
            "would be forgotten"
        )
    if not isinstance(content.get(WEIGHTS_KEY), dict):
        raise PrivacyError(f"{path} holds no weights; expected a file that save_checkpoint wrote")
    if WEIGHTS_DIGEST_KEY not in content or verified_content(
        content[WEIGHTS_DIGEST_KEY], "a checkpoint"
    ) != verified_content(_weights_digest(content, content[LEDGER_KEY]), "a checkpoint"):
        raise PrivacyError(
            f"{path} holds weights and a ledger that were not saved together: weights of later steps cost "
            "more than an earlier ledger counts; expected the file as save_checkpoint wrote it"
        )
    if (STATE_KEYS[0] in content) != has_optimizer:
        raise PrivacyError(
            "got a file with the state of an optimizer and no optimizer, or the other way round; expected "
            "both or none: without its place in the noise a run would draw the same noise for other steps"
        )
    return content


def restore(content: dict[str, Any], ledger: Ledger, *components: Stateful | None) -> dict[str, Any]:
    """Load each state of ``content`` into its component, and the ledger; return the rest of ``content``.

    The states are removed from ``content`` itself.
    """
    content.pop(WEIGHTS_DIGEST_KEY, None)
    ledger.load_state_dict(content[LEDGER_KEY])
    states = {name: content.pop(name) for name in STATE_KEYS if name in content}
    for name, part in zip(STATE_KEYS, components, strict=True):
        if part is not None and name in states:
            part.load_state_dict(states[name])
    return content


def _weights_digest(content: Mapping[str, Any], spent: object) -> dict[str, Any]:
    """Return digests of the weights and of the ledger that they were saved with, under a checksum."""
    return add_checksum(
        {
            "weights": digest(content[WEIGHTS_KEY].values()),
            "ledger": spent.get(CHECKSUM_KEY) if isinstance(spent, Mapping) else None,
        }
    )
