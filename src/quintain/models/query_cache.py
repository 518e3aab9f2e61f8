"""A cache of a remote model's answers, in memory or on disk, so that no query is paid for twice."""

import json
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from quintain.core.errors import StorageError
from quintain.core.files import sha256


class QueryCache:
    """A table of answers by input, in memory or in a file that only its owner can read.

    Args:
        path: An SQLite file, which is created if it is not there; in memory if not given.
        model_hash: The hash of the remote model; answers of other models in the same file are not used.

    Raises:
        StorageError: If the file cannot be created, or is not an SQLite file.
    """

    def __init__(self, path: str | Path | None, model_hash: str) -> None:
        self.path = None if path is None else Path(path)
        self._model_hash = model_hash
        try:
            if self.path is not None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            self._table = sqlite3.connect(":memory:" if self.path is None else self.path, timeout=60)
            with self._table:
                self._table.execute(
                    "CREATE TABLE IF NOT EXISTS answers (question TEXT PRIMARY KEY, answer TEXT NOT NULL) "
                    "WITHOUT ROWID"
                )
        except (OSError, sqlite3.Error) as error:
            raise StorageError(f"cannot keep answers in {self.path}: {error}; choose another file") from error

    def key(self, x: np.ndarray) -> str:
        """Return the key of one input: SHA-256 of the model's hash and the input's dtype, shape and bits."""
        return sha256(
            f"{self._model_hash} {x.dtype.str} {x.shape} ".encode() + np.ascontiguousarray(x).tobytes()
        )

    def lookup(self, keys: Sequence[str]) -> dict[str, Any]:
        """Return the answers that are in the cache, by key; keys that are not are left out."""
        answers = {}
        for key in dict.fromkeys(keys):
            row = self._table.execute("SELECT answer FROM answers WHERE question = ?", (key,)).fetchone()
            if row is not None:
                answers[key] = json.loads(row[0])
        return answers

    def store(self, answers: dict[str, Any]) -> None:
        """Write answers by key to the cache; they are stored when this returns.

        Raises:
            StorageError: If they cannot be written.
        """
        try:
            with self._table:
                rows = [(key, json.dumps(answer)) for key, answer in answers.items()]
                self._table.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?)", rows)
        except sqlite3.Error as error:
            raise StorageError(f"cannot keep answers in {self.path}: {error}; free some space") from error

    def __len__(self) -> int:
        return int(self._table.execute("SELECT count(*) FROM answers").fetchone()[0])
