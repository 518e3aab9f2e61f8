"""A client's update and its last model on its own disk, so that a restart makes it neither train nor forget.

Over one model a site masks one vector, bit for bit; and each model is to be the last one plus the published
sum, of which a client without memory could not tell. The file says what made the update: that of another plan
(without noise, say), of another net over the same weights, of other data or of another seed is not sent
again. The file belongs to the site, as its data does: it is readable by its user alone, and is overwritten in
each round.
"""

import copy
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

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
from quintain.models.fingerprint import fingerprint
from quintain.models.sealed_tensors import read_checkpoint, seal_checkpoint

ENCODED, LEDGER, HOME, HOME_BEFORE = "encoded", "ledger", "home.", "before."
CHAIN, MODEL, SERVER, TERMS = "chain", "model.", "server.", "terms"


def update_terms(chain: ModelChain, seed: int, data: Dataset, units: PrivacyUnits | None) -> str:
    """Return a hash of all that makes a site's update over a model.

    Args:
        chain: Has recipe, noise, objective, weights, grid and aggregation, and the net, whose program counts.
        seed: Of local training.
        data: The site's own.
        units: Whom its examples belong to.
    """
    said = (chain.fingerprint, str(seed), data.hash, fingerprint(chain.own))
    return tagged_hash("own", *(one.encode() for one in said), units_digest(units)).hex()


def units_digest(units: PrivacyUnits | None) -> bytes:
    """Return a hash of whom examples belong to; nothing where each is for itself."""
    if units is None:
        return b""
    said = (units.name, units.max_records_per_unit, units.average_records)
    parts = (units.order.astype("<i8").tobytes(), units.counts.astype("<i8").tobytes())
    return tagged_hash("units", repr(said).encode(), *parts)


def save_update(path: Path, update: Update, chain: ModelChain, ledger: Ledger, terms: str) -> None:
    """Write an update, the model that it was trained over, and what private training has spent.

    All at once: what is lost with an update that was not saved has not left the site.

    Args:
        path: Where.
        update, chain, ledger: What.
        terms: What made the update, as ``update_terms``.

    Raises:
        StorageError: If it cannot be written.
    """
    words = torch.from_numpy(update.encoded.view(np.int32))
    about = {"model": chain.digest.hex(), "loss": repr(update.loss), "num_clipped": str(update.num_clipped)}
    about[TERMS] = terms
    if ledger.steps:
        about[LEDGER] = json.dumps(ledger.state_dict())
    tensors = {ENCODED: words}
    tensors |= {f"{HOME}{name}": value for name, value in update.home.items()}
    tensors |= {f"{HOME_BEFORE}{name}": value for name, value in update.home_before.items()}
    if chain.model is not None:
        place = [chain.fingerprint, chain.counter, chain.index, chain.state is not None]
        about[CHAIN] = json.dumps(place)
        tensors |= {f"{MODEL}{name}": value for name, value in chain.model.state_dict().items()}
        tensors |= {f"{SERVER}{name}": value for name, value in (chain.state or {}).items()}
    write_atomically(path, seal_checkpoint(tensors, about), mode=0o600)


def load_update(
    path: Path | None, chain: ModelChain, ledger: Ledger, terms: str
) -> tuple[Update | None, bytes, ModelChain]:
    """Return the update in a file, the hash of its model, and the chain of models up to that one.

    Where there is no file, or one of another training, that is None, nothing, and the chain as it is given.
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
        return None, b"", chain
    about, tensors = read_checkpoint(path, _if_damaged(chain))
    kept = _chain(chain, about, tensors)
    if kept is None:
        return None, b"", chain
    if LEDGER in about:
        ledger.load_state_dict(json.loads(about[LEDGER]))
    home, before = _under(HOME, tensors), _under(HOME_BEFORE, tensors)
    encoded = tensors[ENCODED].numpy().view(WORD_DTYPE)
    update = Update(encoded, float(about["loss"]), int(about["num_clipped"]), home, before)
    return update, kept.digest if about.get(TERMS) == terms else b"", kept


def _if_damaged(chain: ModelChain) -> str:
    """Say what to do with a damaged file."""
    if chain.plan.config.site_privacy is None:
        return "delete it: this site then sits out until the model moves"
    return (
        "it held what this site's private training has spent, too. A client with a FolderJournal has that in "
        "its journal: delete the file, and this site sits out until the model moves. A simulation has it "
        "nowhere else: start it anew in another folder"
    )


def _chain(first: ModelChain, about: Mapping[str, str], tensors: Mapping[str, Tensor]) -> ModelChain | None:
    """Return the chain of models in a file; None if it is of another training."""
    if CHAIN not in about:
        return None
    fingerprint, counter, index, knows_server = json.loads(about[CHAIN])
    if fingerprint != first.fingerprint:
        return None
    net = copy.deepcopy(first.own)
    net.load_state_dict(_under(MODEL, tensors))
    return replace(
        first,
        model=net,
        digest=bytes.fromhex(about["model"]),
        counter=counter,
        index=index,
        state=_under(SERVER, tensors) if knows_server else None,
    )


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
