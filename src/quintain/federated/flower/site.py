"""The settings of a site that runs Flower apps: nothing in them comes from the server."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from quintain.core.errors import SettingError
from quintain.federated.enrollment import load_identity, load_roster
from quintain.federated.flower.round_folder import RoundFolder
from quintain.federated.flower.terms import SumTerms
from quintain.federated.roster_versions import accept_roster, accepted_folder
from quintain.federated.secagg.folder_journal import FolderJournal
from quintain.federated.secagg.keys import Identity
from quintain.federated.secagg.setting_types import check_types
from quintain.federated.toml_files import check_keys, read_toml

_TERMS = frozenset({"threshold", "min_survivors", "max_corrupt", "clip_value", "scale", "weights"})
_OTHERS = frozenset({"clear_evaluation", "federation"})
REQUIRED_KEYS = frozenset({"identity", "roster", "rounds", "journal"})
OPTIONAL_KEYS = _TERMS | _OTHERS


@dataclass(frozen=True, slots=True)
class SiteSettings:
    """One site's own settings.

    Args:
        identity_file: Its signing key, as ``enrollment.save_identity`` writes it.
        roster_file: The roster of ``terms``, as a file.
        terms: The sums that it takes part in.
        rounds: The folder of a round's secrets, best in memory; see ``round_folder``.
        journal: The folder of what it remembers for life, on a disk, one for all federations that it is in.
        clear_evaluation: Whether the metrics of evaluations, numbers of examples among them, go to the server
            as they are. Without that, evaluations are refused.
        federation: This site's own name of the federation; empty where it is in one alone.

    Raises:
        SettingError: If something is of another type, or the name cannot be a folder's.
    """

    identity_file: Path
    roster_file: Path
    terms: SumTerms
    rounds: Path
    journal: Path
    clear_evaluation: bool = False
    federation: str = ""

    def __post_init__(self) -> None:
        check_types(Path, identity_file=self.identity_file, roster_file=self.roster_file)
        check_types(Path, rounds=self.rounds, journal=self.journal)
        check_types(SumTerms, terms=self.terms)
        accepted_folder(self.journal, self.federation)
        if not isinstance(self.clear_evaluation, bool):
            raise SettingError(f"clear_evaluation = {self.clear_evaluation!r}; expected true or false")

    @classmethod
    def load(cls, path: Path) -> "SiteSettings":
        """Read a site's TOML file; paths in it are relative to its folder.

        Raises:
            NotFoundError: If the file or its roster is missing.
            SettingError: If a key is missing or unknown, or a value is out of range.
        """
        entries = read_toml(path)
        check_keys(path, entries, required=REQUIRED_KEYS, optional=OPTIONAL_KEYS)
        places = {name: _place(path, name, entries) for name in REQUIRED_KEYS}
        terms = {name: entries[name] for name in _TERMS & set(entries)}
        others = {name: entries[name] for name in _OTHERS & set(entries)}
        return cls(
            identity_file=places["identity"],
            roster_file=places["roster"],
            terms=SumTerms(load_roster(places["roster"]), **terms),  # type: ignore[arg-type]
            rounds=places["rounds"],
            journal=places["journal"],
            **others,  # type: ignore[arg-type]
        )

    def load_identity(self) -> Identity:
        """Read the signing key."""
        return load_identity(self.identity_file)

    def with_accepted_roster(self) -> "SiteSettings":
        """Return the settings with the roster as it is now, unless it is older than one that was accepted.

        Raises:
            SettingError: If it is, or does not list this site and its key.
            StorageError: If the journal's folder cannot be used.
        """
        folder = accepted_folder(self.journal, self.federation)
        roster = accept_roster(self.roster_file, folder, self.load_identity())
        return replace(self, terms=replace(self.terms, roster=roster))

    @property
    def folder(self) -> RoundFolder:
        """What the site keeps between the messages of a round."""
        return RoundFolder(self.rounds, FolderJournal(self.journal))


def _place(path: Path, name: str, entries: Mapping[str, object]) -> Path:
    value = entries[name]
    if not isinstance(value, str):
        raise SettingError(f"{path}: {name} = {value!r}; expected the path of a file or folder")
    return path.absolute().parent / value
