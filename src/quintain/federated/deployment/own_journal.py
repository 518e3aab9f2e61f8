"""The journal that a site's state was made with: without that one, nobody knows what the site has spent.

A state may be put back from a copy, and what it lacks then stands in the journal. So the state holds the
random name of its journal, and no other journal, nor an empty folder, takes its place without a word.
"""

from quintain.core.errors import SettingError
from quintain.core.files import write_atomically
from quintain.federated.deployment.folders import private_folder
from quintain.federated.deployment.site_settings import ClientSettings
from quintain.federated.secagg.folder_journal import FolderJournal
from quintain.federated.toml_files import read_text

JOURNAL_FILE = "journal.name"
"""In the state."""


def require_own_journal(settings: ClientSettings) -> None:
    """Refuse a journal that the site's state was not made with; a state without any is fine.

    Raises:
        SettingError: If it is another one, or is gone, or keeps this federation under another name.
        StorageError: If one of the two cannot be read.
    """
    place = private_folder(settings.state) / JOURNAL_FILE
    if not place.exists():
        return
    name, _, federation = read_text(place).strip().partition(" ")
    if name not in FolderJournal(settings.journal).names:
        raise SettingError(
            f"{settings.state} was made with another journal than {settings.journal}; expected the one "
            "journal that this site has for life: without it nobody knows what this site has spent and sent. "
            f"Put journal of {settings.path} right. If that journal is lost for good, take the whole budget "
            "of each training so far for spent, and begin another training with an empty state "
            "(docs/deploy.md, 'a site's journal is lost')"
        )
    if federation != settings.federation:
        raise SettingError(
            f"{settings.path}: federation = {settings.federation!r}, and {settings.state} was made for "
            f"{federation!r}; expected that name, under which the journal keeps the rosters that were "
            "accepted, or the state of another federation"
        )


def bind_journal(settings: ClientSettings) -> None:
    """Note in the site's state which journal is its own, and its name of the federation, where it is not yet.

    Raises:
        StorageError: If one of the two cannot be written.
    """
    place = private_folder(settings.state) / JOURNAL_FILE
    if not place.exists():
        text = f"{FolderJournal(settings.journal).name()} {settings.federation}".strip()
        write_atomically(place, f"{text}\n".encode(), mode=0o600)
