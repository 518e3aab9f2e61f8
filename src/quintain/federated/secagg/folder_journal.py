"""A site's journal in a folder: a small file a note, which stands or does not after a crash."""

import os
import secrets
from pathlib import Path

from quintain.core.errors import StorageError
from quintain.federated.secagg.journal import Journal
from quintain.federated.secagg.journal_notes import NOISE, SPENT
from quintain.federated.secagg.setting_types import check_types

_NAME = ".name"
"""Ends the note by whose name a journal is told from others."""


class FolderJournal(Journal):
    """A journal of one small file a note, made exclusively and synced with its folder.

    After a crash and between processes, a note stands or does not. A crash in the middle of a note leaves it
    empty, which refuses more than need be, never less.

    Args:
        folder: Where; made if need be.

    Raises:
        SettingError: If the folder is no path.
    """

    def __init__(self, folder: Path) -> None:
        check_types(Path, folder=folder)
        self._folder = folder.absolute()  # the same folder wherever the process goes

    @property
    def names(self) -> frozenset[str]:
        """The random names of this journal, by which it is told from another one, or from none.

        Raises:
            StorageError: If the folder cannot be read.
        """
        return frozenset(one.removesuffix(_NAME) for one in self._files() if one.endswith(_NAME))

    def name(self) -> str:
        """Return its random name, which is made and noted where there is none.

        Raises:
            StorageError: If the folder cannot be used.
        """
        if not self.names:
            self._write_once(f"{secrets.token_hex(16)}{_NAME}", b"")
        return min(self.names)

    @property
    def private_trainings(self) -> tuple[str, ...]:
        """The hash of each training that it has notes of spending of.

        Raises:
            StorageError: If the folder cannot be read.
        """
        return self._trainings(SPENT)

    @property
    def noisy_trainings(self) -> tuple[str, ...]:
        """The hash of each training that it has notes of noisy sums of.

        Raises:
            StorageError: If the folder cannot be read.
        """
        return self._trainings(NOISE)

    def _write_once(self, name: str, content: bytes) -> bytes | None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            first = self._create_note(name, content)
            # also if it stood: its writer may have failed to
            for place in (self._folder / name, self._folder, self._folder.parent):
                _sync(place)
        except OSError as error:
            raise StorageError(
                f"cannot write the journal in {self._folder}: {error.strerror}; free some space or check "
                "permissions"
            ) from error
        return first

    def _trainings(self, mark: str) -> tuple[str, ...]:
        """The hash of each training in whose notes' names this mark is."""
        return tuple(sorted({one.partition(mark)[0] for one in self._files() if mark in one}))

    def _create_note(self, name: str, content: bytes) -> bytes | None:
        """Create a note, in exclusive mode; return its content if it existed before."""
        try:
            handle = os.open(self._folder / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except FileExistsError:
            return (self._folder / name).read_bytes()
        with os.fdopen(handle, "wb") as note:
            note.write(content)
        return None

    def _read(self, name: str) -> bytes | None:
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unreadable(error) from error

    def _files(self) -> tuple[str, ...]:
        """The names of all notes; none where there is no folder yet."""
        try:
            return tuple(os.listdir(self._folder))
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: OSError) -> StorageError:
        return StorageError(f"cannot read the journal in {self._folder}: {error.strerror}; check permissions")


def _sync(place: Path) -> None:
    """Wait until a file, or the entries of a folder, are on the disk."""
    handle = os.open(place, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
