"""A client's update and its last model on its own disk, so that a restart makes it neither train nor forget.

Over one model a site masks one vector, bit for bit; and each model is to be the last one plus the published
sum, of which a client without memory could not tell. The file belongs to the site, as its data does: it is
readable by its user alone, and is overwritten in each round.
"""

import copy
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from quintain.core.errors import RunFolderError
from quintain.core.files import remove_leftovers, write_atomically
from quintain.dp import Ledger
from quintain.federated.local import Update
from quintain.federated.model_chain import ModelChain
from quintain.federated.secagg.encoding import WORD_DTYPE
from quintain.models.sealed_tensors import read_checkpoint, seal_checkpoint

ENCODED, LEDGER, HOME, HOME_BEFORE = "encoded", "ledger", "home.", "before."
CHAIN, MODEL, SERVER = "chain", "model.", "server."


def save_update(path: Path, update: Update, chain: ModelChain, ledger: Ledger) -> None:
    """Write an update, the model that it was trained over, and what private training has spent.

    All at once: what is lost with an update that was not saved has not left the site.

    Raises:
        StorageError: If it cannot be written.
    """
    words = torch.from_numpy(update.encoded.view(np.int32))
    about = {"model": chain.digest.hex(), "loss": repr(update.loss), "num_clipped": str(update.num_clipped)}
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
    path: Path | None, chain: ModelChain, ledger: Ledger
) -> tuple[Update | None, bytes, ModelChain]:
    """Return the update in a file, the hash of its model, and the chain of models up to that one.

    Where there is no file that is None, nothing, and the chain as it is given; so is the chain where the file
    is of another training. What private training had spent by then is put into the ledger.

    Raises:
        PrivacyError: If that is not what was saved.
        RunFolderError: If the file is damaged, or holds an update of another length.
    """
    if path is not None:
        remove_leftovers(path)
    if path is None or not path.exists():
        return None, b"", chain
    about, tensors = read_checkpoint(path, "delete it: this site then sits out until the model moves")
    num_words = chain.plan.encoding.num_words
    encoded = tensors[ENCODED].numpy().view(WORD_DTYPE)
    if encoded.shape != (num_words,):
        raise RunFolderError(
            f"{path} holds an update of {encoded.shape} words; expected ({num_words},): delete it"
        )
    if LEDGER in about:
        ledger.load_state_dict(json.loads(about[LEDGER]))
    home, before = _under(HOME, tensors), _under(HOME_BEFORE, tensors)
    update = Update(encoded, float(about["loss"]), int(about["num_clipped"]), home, before)
    return update, bytes.fromhex(about["model"]), _chain(chain, about, tensors)


def _chain(first: ModelChain, about: Mapping[str, str], tensors: Mapping[str, Tensor]) -> ModelChain:
    """Return the chain of models in a file; the first one if there is none, or one of another training."""
    if CHAIN not in about:
        return first
    fingerprint, counter, index, knows_server = json.loads(about[CHAIN])
    if fingerprint != first.fingerprint:
        return first
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
