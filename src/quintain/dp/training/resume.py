"""Exact resumption of a private run: the same batches and noise, and every step counted once."""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from quintain.core.errors import RunFolderError, StorageError
from quintain.core.files import read_bytes, write_atomically
from quintain.dp.randomness.random_source import KEY_BYTES
from quintain.dp.step.optimizer import PrivateOptimizer
from quintain.dp.training.features import LabeledRecords
from quintain.dp.training.plan import PrivatePlan
from quintain.models.sealed_tensors import read_checkpoint, select_prefix
from quintain.training.checkpoint import decode_checkpoint, encode_checkpoint
from quintain.training.ema import EMA

KEY_FILE, STATE_FILE, EMA_PREFIX, SALT_FILE = "key", "state.safetensors", "mean.", "salt"
OWN_PREFIX = "own."
RECORDS_PER_CHUNK = 4096


class ResumableRun:
    """The folder of a private run that can be resumed, readable by its owner alone.

    The folder holds the run's secret key, written once before the first draw and destroyed after the last,
    and its state: weights, optimizer with its ledger, and place, written before the first step and then every
    so often, each time whole or not at all. A run that goes on draws the same batches and noise for the steps
    that it repeats, so that nothing is released that was not counted. What is drawn from is made of the key
    and of all that the run depends on: another run with the same file would draw other noise.

    What it does not protect against: who reads the key while the run is unfinished can subtract the noise;
    destroying it overwrites the file, which a file system that copies on write, a backup or a flash disk may
    undo.

    Args:
        folder: Of this run alone.
        every: Steps between two writes; a write also ends each pass over as many records as there are.
        own_state: Gives tensors of the caller's own by name, such as what was observed so far; they are saved
            with each state.

    Raises:
        RunFolderError: If a file in it is damaged.
    """

    def __init__(
        self, folder: Path, *, every: int = 25, own_state: Callable[[], Mapping[str, Tensor]] = dict
    ) -> None:
        self.folder, self.every, self._own_state = folder, every, own_state
        self.settings: dict[str, Any] = {}
        self._secret = os.urandom(KEY_BYTES)
        self._metadata: dict[str, str] = {}
        self._tensors: dict[str, Tensor] = {}
        if self._state.exists():
            anew = (
                f"choose another --out, or delete {folder}, to begin a new run: the steps that were taken "
                "stay spent"
            )
            self._metadata, self._tensors = read_checkpoint(self._state, anew)
            if not {"run", "settings"} <= self._metadata.keys():
                raise RunFolderError(f"{self._state} is no state of a private run; {anew}")

    @property
    def has_state(self) -> bool:
        """Whether there is a state to resume from."""
        return bool(self._metadata)

    @property
    def steps(self) -> int:
        """The number of steps done."""
        return int(self._run_state["optimizer"]["steps"]) if self.has_state else 0

    @property
    def ledger(self) -> dict[str, Any]:
        """The state of the ledger, for ``Ledger.load_state_dict``."""
        found: dict[str, Any] = self._run_state["optimizer"]["ledger"]
        return found

    @property
    def clipped_fraction(self) -> float:
        """The fraction of gradients that were clipped, as in ``PrivateTrainingResult``."""
        return float(self._run_state["clipped"] / max(self._run_state["seen"], 1))

    @property
    def weights(self) -> dict[str, Tensor]:
        """The weights that the net would have if training ended there."""
        return {
            **decode_checkpoint(self._metadata, self._tensors)[0],
            **(self._ema_weights if self.steps else {}),
        }

    @property
    def own_tensors(self) -> dict[str, Tensor]:
        """The tensors of the caller's own that were saved with the state."""
        return select_prefix(self._tensors, OWN_PREFIX)

    def check_same_run(self, settings: Mapping[str, object]) -> None:
        """Check that the saved state is of a run with these settings.

        Raises:
            RunFolderError: If the state is of a run that depends on something else; the difference is named.
        """
        self.settings = json.loads(json.dumps(settings))
        if not self.has_state:
            return
        found = json.loads(self._metadata["settings"])
        differ = [
            f"{key} = {found.get(key)}, now {value}"
            for key, value in self.settings.items()
            if found.get(key) != value
        ]
        if differ:
            raise RunFolderError(
                f"{self.folder} belongs to an unfinished private run of other settings "
                f"({'; '.join(differ)}); go on with the same, or choose another --out: that is a new run, "
                "which costs its own epsilon"
            )

    def load_or_make_key(self, steps: int) -> bytes:
        """The key of the run's random streams; without a state, of a new secret.

        Raises:
            RunFolderError: If steps are left and the key is gone.
        """
        path = self.folder / KEY_FILE
        if path.exists():
            self._secret = read_bytes(path)
            if len(self._secret) != KEY_BYTES:
                raise RunFolderError(
                    f"{path} holds {len(self._secret)} bytes, a key has {KEY_BYTES}, so this run cannot go "
                    f"on: its {self.steps} steps stay spent; choose another --out to begin a new run"
                )
        elif self.has_state and self.steps < steps:
            raise RunFolderError(
                f"{path} is gone, so this run cannot go on: its {self.steps} steps stay spent; choose "
                "another --out to begin a new run"
            )
        return hashlib.blake2b(
            json.dumps(self.settings, sort_keys=True).encode(), key=self._secret, digest_size=KEY_BYTES
        ).digest()

    def restore(
        self, net: nn.Module, optimizer: PrivateOptimizer[torch.optim.Optimizer], ema: EMA | None = None
    ) -> None:
        """Restore the state; without one, save the key and the first state, before any random draw."""
        if not self.has_state:
            self._make_folder()
            write_atomically(self.folder / KEY_FILE, self._secret, mode=0o600)
            self.save(net, optimizer, ema)
            return
        weights, state = decode_checkpoint(self._metadata, self._tensors)
        net.load_state_dict(weights)
        optimizer.load_state_dict(
            {**optimizer.state_dict(), "state": state, "privacy": self._run_state["optimizer"]}
        )
        step = optimizer.private_step
        step.examples_seen, step.examples_clipped = self._run_state["seen"], self._run_state["clipped"]
        if ema is not None:
            ema.load_state_dict({"steps": self._run_state["averaged"], "means": self._ema_weights})

    def save(
        self, net: nn.Module, optimizer: PrivateOptimizer[torch.optim.Optimizer], ema: EMA | None = None
    ) -> None:
        """Save the state between two steps."""
        mean: dict[str, Any] = ema.state_dict() if ema is not None else {"steps": 0, "means": {}}
        privacy = optimizer.state_dict()["privacy"]
        del privacy["generators"]  # layers draw from the run's own stream
        run = {
            "optimizer": privacy,
            "seen": optimizer.examples_seen,
            "clipped": optimizer.examples_clipped,
            "averaged": mean["steps"],
        }
        words = {"run": json.dumps(run), "settings": json.dumps(self.settings)}
        more = {f"{EMA_PREFIX}{name}": value for name, value in mean["means"].items()}
        more |= {f"{OWN_PREFIX}{name}": value for name, value in self._own_state().items()}
        write_atomically(self._state, encode_checkpoint(net, optimizer, words, more), mode=0o600)

    def should_save(self, step: int, plan: PrivatePlan, num_records: int) -> bool:
        """Whether the state is to be saved after this step."""
        return (
            step == plan.steps
            or step % self.every == 0
            or step % -(-num_records // plan.expected_batch_size) == 0
        )

    def destroy_key(self) -> None:
        """Destroy the key, after the last step."""
        for path in (*self.folder.glob(f".{KEY_FILE}.*"), self.folder / KEY_FILE):
            _destroy(path)

    @property
    def _state(self) -> Path:
        return self.folder / STATE_FILE

    @property
    def _ema_weights(self) -> dict[str, Tensor]:
        return select_prefix(self._tensors, EMA_PREFIX)

    @property
    def _run_state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._metadata["run"])
        return found

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StorageError(
                f"cannot make {self.folder}: {error.strerror}; choose another folder with --out"
            ) from error


def load_or_make_salt(folder: Path) -> bytes:
    """Secret bytes that name the records of the runs in ``folder``.

    Written once, readable by the owner alone, and deleted by ``delete_unfinished``.

    Raises:
        RunFolderError: If the file is damaged.
    """
    path = folder / SALT_FILE
    if not path.exists():
        write_atomically(path, os.urandom(KEY_BYTES), mode=0o600)
    found = read_bytes(path)
    if len(found) != KEY_BYTES:
        raise RunFolderError(
            f"{path} holds {len(found)} bytes, a salt has {KEY_BYTES}; delete this file alone, and go on"
        )
    return found


def run_fingerprint(
    net: nn.Module, data: LabeledRecords, plan: PrivatePlan, seed: int | None
) -> dict[str, object]:
    """Everything besides the secret key that determines the numbers of a run.

    A resumed run must agree in all of it: if a sum were rounded differently, the same noise would be added to
    two different sums, and their difference would show them without noise.
    """
    first = hashlib.sha256(repr(net).encode())
    for name, value in net.state_dict().items():
        first.update(name.encode())
        _update_hash(first, value)
    return {
        "plan": repr(plan),
        "data": hash_of_records(data)[:16],
        "first weights": first.hexdigest()[:16],
        "seed": seed,
        "torch": torch.__version__,
        "device": next((str(parameter.device) for parameter in net.parameters()), "cpu"),
        "threads": torch.get_num_threads(),
    }


def hash_of_records(data: LabeledRecords) -> str:
    """The hash of all inputs and labels."""
    if known := getattr(data, "hash", ""):
        return str(known)
    digest = hashlib.sha256()
    for start in range(0, len(data), RECORDS_PER_CHUNK):
        for value in data.batch(np.arange(start, min(start + RECORDS_PER_CHUNK, len(data)))):
            _update_hash(digest, value)
    return digest.hexdigest()


def _update_hash(digest: "hashlib._Hash", value: Tensor) -> None:
    digest.update(f"{value.dtype} {tuple(value.shape)}".encode())
    digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())


def delete_unfinished(folder: Path) -> None:
    """Delete what only unfinished runs need, once their record is written.

    The folder is first moved out of sight, so that no half of it can be resumed.
    """
    for path in [
        path
        for name in (KEY_FILE, SALT_FILE)
        for pattern in (name, f".{name}.*")
        for path in folder.rglob(pattern)
    ]:
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
        raise StorageError(
            f"cannot remove {path}, which holds the key of the noise: {error.strerror}; remove it by hand"
        ) from error
