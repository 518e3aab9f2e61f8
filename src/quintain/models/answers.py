"""Answers kept on disk, so that no question is paid for twice."""

import json
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from quintain.core.errors import StorageError
from quintain.core.store import sha256


class Answers:
    """A table of answers by question, in memory or in a file that its owner alone can read.

    Args:
        path: An SQLite file, made if need be; memory if not given.
        of: The hash of who is asked; answers of others in the same file are not seen.

    Raises:
        StorageError: If the file cannot be made, or is something else.
    """

    def __init__(self, path: str | Path | None, of: str) -> None:
        self.path = None if path is None else Path(path)
        self._of = of
        try:
            if self.path is not None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            self._table = sqlite3.connect(":memory:" if self.path is None else self.path, timeout=60)
            with self._table:
                self._table.execute("CREATE TABLE IF NOT EXISTS answers (question TEXT PRIMARY KEY, answer TEXT NOT NULL) WITHOUT ROWID")
        except (OSError, sqlite3.Error) as error:
            raise StorageError(f"cannot keep answers in {self.path}: {error}; choose another file") from error

    def question(self, x: np.ndarray) -> str:
        """What one input is kept under: SHA-256 of who is asked, of its shape, and of every bit."""
        return sha256(f"{self._of} {x.dtype.str} {x.shape} ".encode() + np.ascontiguousarray(x).tobytes())

    def known(self, questions: Sequence[str]) -> dict[str, Any]:
        """Those of the questions that were answered before, with their answers."""
        found = {}
        for question in dict.fromkeys(questions):
            row = self._table.execute("SELECT answer FROM answers WHERE question = ?", (question,)).fetchone()
            if row is not None:
                found[question] = json.loads(row[0])
        return found

    def keep(self, answers: dict[str, Any]) -> None:
        """Store answers before anything else happens.

        Raises:
            StorageError: If they cannot be written.
        """
        try:
            with self._table:
                rows = [(question, json.dumps(answer)) for question, answer in answers.items()]
                self._table.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?)", rows)
        except sqlite3.Error as error:
            raise StorageError(f"cannot keep answers in {self.path}: {error}; free some space") from error

    def __len__(self) -> int:
        return int(self._table.execute("SELECT count(*) FROM answers").fetchone()[0])
