"""A private run that is cut off goes on exactly: the same batches, the same noise, no step counted twice or not at all."""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from quintain.core.errors import RunFolderError, StorageError
from quintain.core.files import read_bytes, write_atomically
from quintain.dp.step.optimizer import DPOptimizer
from quintain.dp.training.ema import EMA
from quintain.dp.training.features import Records
from quintain.dp.training.plan import PrivatePlan
from quintain.training.checkpoint import decode_checkpoint, encode_checkpoint, read_checkpoint

KEY, STATE, MEAN, SALT = "key", "state.safetensors", "mean.", "salt"
SECRET = 32
AT_ONCE = 4096


class Unfinished:
    """Where one private run keeps what it needs to go on, readable by its owner alone.

    The folder holds the run's secret key, written once before the first draw and destroyed after the last, and its state: weights,
    optimiser with its ledger, and place, written before the first step and then every so often, each time whole or not at all. A run that
    goes on draws the same batches and noise for the steps that it repeats, so that nothing is released that was not counted. What is drawn
    from is made of the key and of all that the run depends on: another run with the same file would draw other noise.

    What it does not protect against: who reads the key while the run is unfinished can subtract the noise; destroying it overwrites the
    file, which a file system that copies on write, a backup or a flash disk may undo.

    Args:
        folder: Of this run alone.
        every: Steps between two writes; a write also ends each pass over as many records as there are.

    Raises:
        RunFolderError: If a file in it is damaged.
    """

    def __init__(self, folder: Path, *, every: int = 25) -> None:
        self.folder, self.every = folder, every
        self.settings: dict[str, Any] = {}
        self._secret = os.urandom(SECRET)
        self._metadata: dict[str, str] = {}
        self._tensors: dict[str, Tensor] = {}
        if self._state.exists():
            anew = f"choose another --out, or delete {folder}, to begin a new run: the steps that were taken stay spent"
            self._metadata, self._tensors = read_checkpoint(self._state, anew)
            if not {"run", "settings"} <= self._metadata.keys():
                raise RunFolderError(f"{self._state} is no state of a private run; {anew}")

    @property
    def begun(self) -> bool:
        """Whether there is a state to go on from."""
        return bool(self._metadata)

    @property
    def steps(self) -> int:
        """Steps that are done."""
        return int(self._run["optimizer"]["steps"]) if self.begun else 0

    @property
    def ledger(self) -> dict[str, Any]:
        """What they have spent, for ``Ledger.load_state_dict``."""
        found: dict[str, Any] = self._run["optimizer"]["ledger"]
        return found

    @property
    def clipped_share(self) -> float:
        """Examples whose gradient was clipped, of all seen; as in ``PrivateFit``."""
        return float(self._run["clipped"] / max(self._run["seen"], 1))

    @property
    def weights(self) -> dict[str, Tensor]:
        """The weights after them: what the net would be if training ended there."""
        return {**decode_checkpoint(self._metadata, self._tensors)[0], **(self._means if self.steps else {})}

    def belongs_to(self, settings: Mapping[str, object]) -> None:
        """Say what this run depends on.

        Raises:
            RunFolderError: If the state is of a run that depends on something else; the difference is named.
        """
        self.settings = json.loads(json.dumps(settings))
        if not self.begun:
            return
        found = json.loads(self._metadata["settings"])
        differ = [f"{key} = {found.get(key)}, now {value}" for key, value in self.settings.items() if found.get(key) != value]
        if differ:
            raise RunFolderError(
                f"{self.folder} belongs to an unfinished private run of other settings ({'; '.join(differ)}); go on with the same, or "
                "choose another --out: that is a new run, which costs its own epsilon"
            )

    def key(self, steps: int) -> bytes:
        """What to draw from in this run of so many steps; anything will do once they are done.

        Raises:
            RunFolderError: If steps are left and the key is gone.
        """
        path = self.folder / KEY
        if path.exists():
            self._secret = read_bytes(path)
            if len(self._secret) != SECRET:
                raise RunFolderError(
                    f"{path} holds {len(self._secret)} bytes, a key has {SECRET}, so this run cannot go on: its {self.steps} steps stay "
                    "spent; choose another --out to begin a new run"
                )
        elif self.begun and self.steps < steps:
            raise RunFolderError(
                f"{path} is gone, so this run cannot go on: its {self.steps} steps stay spent; choose another --out to begin a new run"
            )
        return hashlib.blake2b(json.dumps(self.settings, sort_keys=True).encode(), key=self._secret, digest_size=SECRET).digest()

    def restore(self, net: nn.Module, optimizer: DPOptimizer, average: EMA | None = None) -> None:
        """Put the state back; where there is none, write down the key and the beginning, before anything is drawn."""
        if not self.begun:
            self._make_folder()
            write_atomically(self.folder / KEY, self._secret, mode=0o600)
            self.keep(net, optimizer, average)
            return
        weights, state = decode_checkpoint(self._metadata, self._tensors)
        net.load_state_dict(weights)
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state, "privacy": self._run["optimizer"]})
        optimizer.seen, optimizer.clipped = self._run["seen"], self._run["clipped"]
        if average is not None:
            average.load_state_dict({"steps": self._run["averaged"], "means": self._means})

    def keep(self, net: nn.Module, optimizer: DPOptimizer, average: EMA | None = None) -> None:
        """Write the state between two steps."""
        mean: dict[str, Any] = average.state_dict() if average is not None else {"steps": 0, "means": {}}
        privacy = optimizer.state_dict()["privacy"]
        del privacy["generators"]  # layers draw from the run's own stream
        run = {
            "optimizer": privacy,
            "seen": optimizer.seen,
            "clipped": optimizer.clipped,
            "averaged": mean["steps"],
        }
        words = {"run": json.dumps(run), "settings": json.dumps(self.settings)}
        means = {f"{MEAN}{name}": value for name, value in mean["means"].items()}
        write_atomically(self._state, encode_checkpoint(net, optimizer, words, means), mode=0o600)

    def due(self, step: int, plan: PrivatePlan, records: int) -> bool:
        """Whether the state is to be written after so many steps."""
        return step == plan.steps or step % self.every == 0 or step % -(-records // plan.expected_batch_size) == 0

    def close(self) -> None:
        """Destroy the key: all steps are done."""
        for path in (*self.folder.glob(f".{KEY}.*"), self.folder / KEY):
            _destroy(path)

    @property
    def _state(self) -> Path:
        return self.folder / STATE

    @property
    def _means(self) -> dict[str, Tensor]:
        return {name.removeprefix(MEAN): value for name, value in self._tensors.items() if name.startswith(MEAN)}

    @property
    def _run(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._metadata["run"])
        return found

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StorageError(f"cannot make {self.folder}: {error.strerror}; choose another folder with --out") from error


def salt_of(folder: Path) -> bytes:
    """Secret bytes that name the records of the runs in ``folder``: written once, readable by their owner alone, and gone with ``forget``.

    Raises:
        RunFolderError: If the file is damaged.
    """
    path = folder / SALT
    if not path.exists():
        write_atomically(path, os.urandom(SECRET), mode=0o600)
    found = read_bytes(path)
    if len(found) != SECRET:
        raise RunFolderError(f"{path} holds {len(found)} bytes, a salt has {SECRET}; delete this file alone, and go on")
    return found


def depends_on(net: nn.Module, data: Records, plan: PrivatePlan, seed: int | None) -> dict[str, object]:
    """All that the steps of a run follow from, besides its key: a sum that is rounded otherwise must not meet the same noise."""
    first = hashlib.sha256(repr(net).encode())
    for name, value in net.state_dict().items():
        first.update(name.encode())
        _add(first, value)
    return {
        "plan": repr(plan),
        "data": hash_of(data)[:16],
        "first weights": first.hexdigest()[:16],
        "seed": seed,
        "torch": torch.__version__,
        "device": next((str(parameter.device) for parameter in net.parameters()), "cpu"),
        "threads": torch.get_num_threads(),
    }


def hash_of(data: Records) -> str:
    """Of all inputs and labels."""
    if known := getattr(data, "hash", ""):
        return str(known)
    digest = hashlib.sha256()
    for start in range(0, len(data), AT_ONCE):
        for value in data.batch(np.arange(start, min(start + AT_ONCE, len(data)))):
            _add(digest, value)
    return digest.hexdigest()


def _add(digest: "hashlib._Hash", value: Tensor) -> None:
    digest.update(f"{value.dtype} {tuple(value.shape)}".encode())
    digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())


def forget(folder: Path) -> None:
    """Remove what only unfinished runs need, once their record is written; at once out of sight, so that no half of it is gone on from."""
    for path in [path for name in (KEY, SALT) for pattern in (name, f".{name}.*") for path in folder.rglob(pattern)]:
        _destroy(path)
    if folder.is_dir():
        gone = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}")
        folder.replace(gone)
        shutil.rmtree(gone)


def _destroy(path: Path) -> None:
    """Overwrite a file, then remove it."""
    if not path.is_file():
        return
    try:
        with path.open("r+b") as file:
            file.write(bytes(path.stat().st_size))
            file.flush()
            os.fsync(file.fileno())
        path.unlink()
    except OSError as error:
        raise StorageError(f"cannot remove {path}, which holds the key of the noise: {error.strerror}; remove it by hand") from error
