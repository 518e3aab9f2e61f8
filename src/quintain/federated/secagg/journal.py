"""Which rounds a site has unmasked: each is answered once, also across restarts."""

import os
from pathlib import Path
from typing import Protocol

from quintain.core.errors import ProtocolError, StorageError


class Journal(Protocol):
    """Remembers round ids."""

    def answered(self, round_id: bytes) -> bool:
        """Whether this round was claimed before."""

    def claim(self, round_id: bytes) -> None:
        """Claim a round, before its answer leaves.

        Raises:
            ProtocolError: If it was claimed before.
        """


class MemoryJournal:
    """A journal that lives as long as its process."""

    def __init__(self) -> None:
        self._claimed: set[bytes] = set()

    def answered(self, round_id: bytes) -> bool:
        """Whether this round was claimed before."""
        return round_id in self._claimed

    def claim(self, round_id: bytes) -> None:
        """Claim a round; a second time is refused."""
        if round_id in self._claimed:
            raise _claimed_before(round_id)
        self._claimed.add(round_id)


class FolderJournal:
    """A journal of one empty file a round, made exclusively and synced with its folder: a crash or a second process cannot answer again.

    Args:
        folder: Where; made if need be.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def answered(self, round_id: bytes) -> bool:
        """Whether this round was claimed before.

        Raises:
            StorageError: If the folder cannot be read.
        """
        try:
            return self._place(round_id).exists()
        except OSError as error:
            raise StorageError(f"cannot read the journal in {self._folder}: {error.strerror}; check permissions") from error

    def claim(self, round_id: bytes) -> None:
        """Claim a round; a second time is refused.

        Raises:
            ProtocolError: If it was claimed before.
            StorageError: If the folder cannot be written; the answer must not leave then.
        """
        if self.answered(round_id):
            raise _claimed_before(round_id)
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            note = (self._place(round_id), os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            for target, flags in (note, (self._folder, os.O_RDONLY), (self._folder.parent, os.O_RDONLY)):
                handle = os.open(target, flags, 0o600)
                try:
                    os.fsync(handle)
                finally:
                    os.close(handle)
        except OSError as error:
            if self.answered(round_id):
                raise _claimed_before(round_id) from error
            raise StorageError(
                f"cannot write the journal in {self._folder}: {error.strerror}; free some space or check permissions"
            ) from error

    def _place(self, round_id: bytes) -> Path:
        return self._folder / f"{round_id.hex()}.unmasked"


def _claimed_before(round_id: bytes) -> ProtocolError:
    return ProtocolError(f"round {round_id.hex()} was unmasked before; a round is answered once: start a new round with a new id")
