"""What private training has spent, by a site's journal: it outlives the program and the update file."""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace

from quintain.core.errors import PrivacyError, SettingError
from quintain.dp import Ledger
from quintain.dp.accounting.guarantee import PrivacyUnit
from quintain.dp.accounting.release import Release
from quintain.federated.secagg.folder_journal import FolderJournal
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

    A note that cannot be read counts all the same, as the last one of its training that can.

    Args:
        journal: The site's own.
        training: The hash of the training.
        usual: Gives what a round spends, where no note can be read.

    Raises:
        StorageError: If the journal cannot be read.
    """
    releases = [_release(note) for note in journal.noted_spending(training)]
    readable = [one for one in releases if one is not None]
    return Ledger([one or (readable[-1] if readable else usual()) for one in releases])


def noted_trainings(journal: FolderJournal, usual: Callable[[], Release]) -> dict[str, Ledger]:
    """Return the ledger of each private training that a journal has notes of, as ``noted_ledger``.

    Raises:
        StorageError: If the journal cannot be read.
    """
    return {one: noted_ledger(journal, one, usual) for one in journal.private_trainings}


def add_ledgers(ledgers: Iterable[Ledger]) -> dict[PrivacyUnit, Ledger]:
    """Add up several trainings on the data of one site, by the unit that they protect.

    A training is chosen after others have released something, so all but the first are choices made later.
    What protects a record and what protects a patient do not add up to one epsilon.
    """
    total: dict[PrivacyUnit, Ledger] = {}
    for one in ledgers:
        for release in one.releases:
            of_unit = total.setdefault(release.unit, Ledger())
            choice = of_unit.next_choice() if release is one.releases[0] else of_unit.releases[-1].choice
            of_unit.record(replace(release, choice=choice))
    return total


def require_noted(journal: Journal, training: str, ledger: Ledger) -> None:
    """Refuse to go on where a lasting journal has fewer notes of a training than a kept ledger has rounds.

    Each round is noted before its update is kept. So notes that are missing are lost, or the journal is
    another one or an old copy, and nobody knows how many more there were.

    Args:
        journal: The site's own; one that ends with its process is not asked.
        training: The hash of the training.
        ledger: What was kept beside the update.

    Raises:
        PrivacyError: If notes are missing.
        StorageError: If the journal cannot be read.
    """
    if not isinstance(journal, FolderJournal) or not ledger.releases:
        return
    noted = noted_ledger(journal, training, lambda: ledger.releases[-1])
    if noted.steps < ledger.steps:
        raise PrivacyError(
            f"the journal has notes of {noted.steps} private steps of this training, and {ledger.steps} were "
            "taken before the update of this site was kept; expected them all, in the one journal that this "
            "site has for life: give it that one. If it is lost, nobody knows what this site has spent: "
            "leave this training, and take the whole budget of every training so far for spent"
        )


def _release(note: bytes) -> Release | None:
    try:
        return Release(**json.loads(note))
    except (ValueError, TypeError, SettingError):
        return None
