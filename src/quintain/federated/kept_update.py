"""A client's update on its own disk, so that a restart does not make it train, or sit out, a second time.

Over one model a site masks one vector, bit for bit. The file belongs to the site, as its data does: it is
readable by its user alone, and is overwritten when the model has moved.
"""

import json
from pathlib import Path

import numpy as np
import torch

from quintain.core.errors import RunFolderError
from quintain.core.files import write_atomically
from quintain.dp import Ledger
from quintain.federated.local import Update
from quintain.federated.secagg.encoding import WORD_DTYPE
from quintain.models.sealed_tensors import read_checkpoint, seal_checkpoint

ENCODED, LEDGER, HOME, HOME_BEFORE = "encoded", "ledger", "home.", "before."


def save_update(path: Path, update: Update, model_hash: bytes, ledger: Ledger) -> None:
    """Write an update, the hash of the model that it was trained over, and what private training has spent.

    All at once: what is lost with an update that was not saved has not left the site.

    Raises:
        StorageError: If it cannot be written.
    """
    words = torch.from_numpy(update.encoded.view(np.int32))
    about = {"model": model_hash.hex(), "loss": repr(update.loss), "num_clipped": str(update.num_clipped)}
    if ledger.steps:
        about[LEDGER] = json.dumps(ledger.state_dict())
    tensors = {ENCODED: words}
    tensors |= {f"{HOME}{name}": value for name, value in update.home.items()}
    tensors |= {f"{HOME_BEFORE}{name}": value for name, value in update.home_before.items()}
    write_atomically(path, seal_checkpoint(tensors, about), mode=0o600)


def load_update(path: Path | None, num_words: int, ledger: Ledger) -> tuple[Update | None, bytes]:
    """Return the update in a file and the hash of its model; None and nothing where there is no file.

    What private training had spent by then is put into the ledger.

    Raises:
        PrivacyError: If that is not what was saved.
        RunFolderError: If the file is damaged, or holds an update of another length.
    """
    if path is None or not path.exists():
        return None, b""
    about, tensors = read_checkpoint(path, "delete it: this site then sits out until the model moves")
    encoded = tensors[ENCODED].numpy().view(WORD_DTYPE)
    if encoded.shape != (num_words,):
        raise RunFolderError(
            f"{path} holds an update of {encoded.shape} words; expected ({num_words},): delete it"
        )
    if LEDGER in about:
        ledger.load_state_dict(json.loads(about[LEDGER]))
    home, before = (
        {name.removeprefix(part): value for name, value in tensors.items() if name.startswith(part)}
        for part in (HOME, HOME_BEFORE)
    )
    update = Update(encoded, float(about["loss"]), int(about["num_clipped"]), home, before)
    return update, bytes.fromhex(about["model"])
