"""A client's update and its last models on its own disk, so that a restart makes it neither train nor forget.

Over one model a site masks one vector, bit for bit; and each model is to be the last one plus the published
sum, of which a client without memory could not tell. The model is kept before training starts, the update
after it. The file says what made the update: that of another plan (without noise, say), of another net over
the same weights, of other data or of another seed is not sent again. The file belongs to the site, as its
data does: it is readable by its user alone, and is replaced in each round.
"""

import copy
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quintain.core.files import remove_leftovers, write_atomically
from quintain.data.dataset import Dataset
from quintain.dp import Ledger, PrivacyUnits
from quintain.federated.local import Update
from quintain.federated.model_chain import ModelChain
from quintain.federated.secagg.encoding import WORD_DTYPE
from quintain.federated.secagg.primitives import tagged_hash
from quintain.federated.strategies.strategy import State
from quintain.models.fingerprint import fingerprint
from quintain.models.sealed_tensors import read_checkpoint, seal_checkpoint, select_prefix

ENCODED, LEDGER, HOME, HOME_BEFORE = "encoded", "ledger", "home.", "before."
CHAIN, MODEL, SERVER, TERMS = "chain", "model.", "server.", "terms"
BASE, LARGEST = "base", "largest"


@dataclass(frozen=True, slots=True)
class SavedTraining:
    """The state of a training that a client saves between tasks.

    Args:
        chain: The models up to that of the last task.
        base: The models up to the last one over which its vector may have left; ``chain`` if it may have.
        home: The strategy's state at the site before it trained over the last model.
        update: The update over the last model; None if there is none yet.
        trained_over: The digest of the model that the update is computed over; empty if it must not be sent.
    """

    chain: ModelChain
    base: ModelChain
    home: State
    update: Update | None = None
    trained_over: bytes = b""


def update_terms(chain: ModelChain, seed: int, data: Dataset, units: PrivacyUnits | None) -> str:
    """Return a hash of all that makes a site's update over a model.

    Args:
        chain: Has recipe, noise, objective, weights, grid and aggregation, and the net, whose program counts.
        seed: Of local training.
        data: The site's own.
        units: Whom its examples belong to.
    """
    items = (chain.fingerprint, str(seed), data.hash, fingerprint(chain.own))
    return tagged_hash("own", *(one.encode() for one in items), units_digest(units)).hex()


def units_digest(units: PrivacyUnits | None) -> bytes:
    """Return a hash of whom examples belong to; nothing where each is for itself."""
    if units is None:
        return b""
    items = (units.name, units.max_records_per_unit, units.average_records)
    parts = (units.order.astype("<i8").tobytes(), units.counts.astype("<i8").tobytes())
    return tagged_hash("units", repr(items).encode(), *parts)


def save_update(path: Path, kept: SavedTraining, ledger: Ledger, terms: str) -> None:
    """Write the last model, the update over it if there is one, and what private training has spent.

    All at once: what is lost with an update that was not saved has not left the site.

    Args:
        path: Where.
        kept, ledger: What.
        terms: What made the update, as ``update_terms``.

    Raises:
        StorageError: If it cannot be written.
    """
    chain, base, update = kept.chain, kept.base, kept.update
    about, tensors = {"model": chain.digest.hex(), TERMS: terms}, {}
    if ledger.steps:
        about[LEDGER] = json.dumps(ledger.state_dict())
    if update is not None:
        about |= {"loss": repr(update.loss), "num_clipped": str(update.num_clipped)}
        about[LARGEST] = repr(update.largest)
        tensors[ENCODED] = torch.from_numpy(update.encoded.view(np.int32))
        tensors |= {f"{HOME}{name}": value for name, value in update.home.items()}
    tensors |= {f"{HOME_BEFORE}{name}": value for name, value in kept.home.items()}
    if chain.model is not None:
        about[CHAIN] = json.dumps([chain.fingerprint, *_place(chain)])
        tensors |= _models(chain)
    if base is not chain:
        about[BASE] = json.dumps([base.digest.hex(), *_place(base)])
        tensors |= {f"{BASE}.{name}": value for name, value in _models(base).items()}
    write_atomically(path, seal_checkpoint(tensors, about), mode=0o600)


def load_update(path: Path | None, chain: ModelChain, ledger: Ledger, terms: str) -> SavedTraining:
    """Return what a file says of this training; where there is none, nothing but the chain as it is given.

    An update of this training that was made of other data, with another seed or by another net has no
    hash: what stays at the site goes on from it, and it is not sent. What private training had spent by then
    is put into the ledger.

    Raises:
        PrivacyError: If that is not what was saved.
        RunFolderError: If the file is damaged.
    """
    if path is not None:
        remove_leftovers(path)
    if path is None or not path.exists():
        return SavedTraining(chain, chain, {})
    about, tensors = read_checkpoint(path, _damage_advice(chain))
    fingerprint, *place = json.loads(about.get(CHAIN, '[""]'))
    if fingerprint != chain.fingerprint:
        return SavedTraining(chain, chain, {})
    if LEDGER in about:
        ledger.load_state_dict(json.loads(about[LEDGER]))
    last = base = _chain(chain, bytes.fromhex(about["model"]), place, tensors)
    if BASE in about:
        digest, *place = json.loads(about[BASE])
        base = _chain(chain, bytes.fromhex(digest), place, select_prefix(tensors, f"{BASE}."))
    home, update = select_prefix(tensors, HOME_BEFORE), None
    if ENCODED in tensors:
        encoded, largest = tensors[ENCODED].numpy().view(WORD_DTYPE), float(about.get(LARGEST, math.nan))
        loss, num_clipped = float(about["loss"]), int(about["num_clipped"])
        update = Update(encoded, loss, num_clipped, largest, select_prefix(tensors, HOME))
    return SavedTraining(last, base, home, update, last.digest if about.get(TERMS) == terms else b"")


@dataclass(frozen=True, slots=True)
class KeptModel:
    """The last model of a file, of whatever training it is.

    Args:
        training: The hash of the training, as ``ModelChain.fingerprint``.
        index: Of its round, from 0.
        weights: Its tensors by name.
    """

    training: str
    index: int
    weights: Mapping[str, Tensor] = field(repr=False)


def kept_model(path: Path) -> KeptModel | None:
    """Return the last model of a file; None where there is none.

    Raises:
        RunFolderError: If the file is damaged.
    """
    if not path.exists():
        return None
    about, tensors = read_checkpoint(path, "delete it, and set joins_late")
    if CHAIN not in about:
        return None
    training, _, index, _ = json.loads(about[CHAIN])
    return KeptModel(training, index, select_prefix(tensors, MODEL))


def _damage_advice(chain: ModelChain) -> str:
    """Say what to do with a damaged file."""
    if chain.plan.config.site_privacy is None:
        return "delete it and set joins_late: this site then sits out until the model moves"
    return (
        "it held what this site's private training has spent, too. A client with a FolderJournal has that in "
        "its journal: delete the file, and this site sits out until the model moves. A simulation has it "
        "nowhere else: start it anew in another folder"
    )


def _place(chain: ModelChain) -> list[object]:
    """Where in the training a chain is, and what of it is known."""
    return [chain.counter, chain.index, chain.state is not None]


def _models(chain: ModelChain) -> dict[str, Tensor]:
    """The tensors of a chain."""
    if chain.model is None:
        return {}
    tensors = {f"{MODEL}{name}": value for name, value in chain.model.state_dict().items()}
    return tensors | {f"{SERVER}{name}": value for name, value in (chain.state or {}).items()}


def _chain(
    first: ModelChain, digest: bytes, place: Sequence[Any], tensors: Mapping[str, Tensor]
) -> ModelChain:
    """Return a chain of models from a file; the first one where it had no model."""
    if not digest:
        return first
    net = copy.deepcopy(first.own)
    net.load_state_dict(select_prefix(tensors, MODEL))
    counter, index, knows_server = place
    state = select_prefix(tensors, SERVER) if knows_server else None
    return replace(first, model=net, digest=digest, counter=counter, index=index, state=state)
