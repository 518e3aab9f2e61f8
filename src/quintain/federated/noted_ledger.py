"""What private training has spent, by a site's journal: it outlives the program and the update file."""

import json
from collections.abc import Callable
from dataclasses import asdict

from quintain.core.errors import SettingError
from quintain.dp import Ledger
from quintain.dp.accounting.release import Release
from quintain.federated.secagg.journal import Journal


def note_round(journal: Journal, training: str, release: Release) -> None:
    """Note a round's release, before its update is used.

    Args:
        journal: The site's own.
        training: The hash of the training, as ``ModelChain.fingerprint``.
        release: Of this round alone.

    Raises:
        ProtocolError: If another program writes to the journal.
        StorageError: If it cannot be written.
    """
    number = len(journal.noted_spending(training))
    journal.note_spending(training, number, json.dumps(asdict(release)).encode())


def noted_ledger(journal: Journal, training: str, usual: Callable[[], Release]) -> Ledger:
    """Return a ledger of all rounds that the journal has notes of.

    Args:
        journal: The site's own.
        training: The hash of the training.
        usual: Gives what a round spends; it stands for a note that cannot be read, which counts all the same.

    Raises:
        StorageError: If the journal cannot be read.
    """
    return Ledger([_release(note, usual) for note in journal.noted_spending(training)])


def _release(note: bytes, usual: Callable[[], Release]) -> Release:
    try:
        return Release(**json.loads(note))
    except (ValueError, TypeError, SettingError):
        return usual()
