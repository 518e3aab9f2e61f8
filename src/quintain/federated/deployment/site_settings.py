"""The settings of one site's daemon as a file, ``client.toml``: nothing in them comes from the server.

::

    plan = "plan.toml"
    identity = "identity.toml"
    roster = "roster.toml"
    data = "xrays.npz"
    state = "/var/lib/quintain/state"       # its update, its approval, its log: mode 0700
    journal = "/var/lib/quintain/journal"   # what it remembers for life
    socket = "/run/quintain/socket"
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from quintain.core.errors import NotFoundError, SettingError
from quintain.core.registry import entries
from quintain.data import load_data
from quintain.data.dataset import Dataset
from quintain.dp import PrivacyUnits
from quintain.federated.client import Client
from quintain.federated.client_config import ClientConfig
from quintain.federated.deployment.plan_file import Deployment, PlanFile
from quintain.federated.deployment.toml_table import place_of, prefix_errors, read_table
from quintain.federated.enrollment import load_identity
from quintain.federated.homomorphic_key import SharedKey
from quintain.federated.homomorphic_sum import HomomorphicSum
from quintain.federated.roster_versions import accepted_folder, check_roster
from quintain.federated.secagg.folder_journal import FolderJournal
from quintain.federated.secagg.keys import Identity, Roster
from quintain.federated.toml_files import read_toml
from quintain.federated.visible_text import as_seen

KEYS: Mapping[str, object] = {
    "plan": Path,
    "identity": Path,
    "roster": Path,
    "data": str,
    "units": Path,
    "key": Path,
    "state": Path,
    "journal": Path,
    "federation": str,
    "socket": Path,
    "seed": int,
    "joins_late": bool,
}
REQUIRED = ("plan", "identity", "roster", "data", "state", "journal", "socket")
UPDATE_FILE = "update.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """One site's own settings.

    Args:
        path: The file that says them.
        plan: The plan's file.
        identity: The file of its signing key.
        roster: The file of all sites.
        data: As ``load_data`` takes it, with the whole path of a file or folder; its split ``train`` is
            trained on.
        units: A file with one line for each example, whom it belongs to; None where each is for itself.
        key: The key file that the sites share, for homomorphic sums; None for other sums.
        state: The folder of its update, its approval and its log.
        journal: The folder of what it remembers for life, one for all federations that it is in.
        federation: This site's own name of the federation; empty where it is in one alone.
        socket: Where the server's messages come in.
        seed: Of local training.
        joins_late: Whether a site that has no model yet takes one that is not its own first one.
    """

    path: Path
    plan: Path
    identity: Path
    roster: Path
    data: str
    state: Path
    journal: Path
    socket: Path
    units: Path | None = None
    key: Path | None = None
    federation: str = ""
    seed: int = 0
    joins_late: bool = False

    @classmethod
    def load(cls, path: Path) -> "ClientSettings":
        """Read a site's file; paths in it are relative to its folder.

        Raises:
            NotFoundError: If it is missing.
            SettingError: If a key is unknown or missing, or a value is wrong.
        """
        values: dict[str, Any] = read_table(path, read_toml(path), KEYS, required=REQUIRED)
        if values["data"] not in entries("dataset"):
            values["data"] = str(place_of(path, values["data"]))
        state, journal = values["state"], values["journal"]
        if state.is_relative_to(journal) or journal.is_relative_to(state):
            raise SettingError(
                f"{path}: state = '{state}' and journal = '{journal}' are one folder, or one is in the "
                "other; expected two beside each other: a state may be put back from a copy, a journal never"
            )
        with prefix_errors(path):
            accepted_folder(values["journal"], values.get("federation", ""))
        return cls(path=path, **values)

    @property
    def accepted(self) -> Path:
        """The folder of the rosters of this federation that the site has accepted."""
        return accepted_folder(self.journal, self.federation)

    def members(self) -> tuple[Identity, Roster]:
        """Read the site's identity, and the roster that lists it; nothing is accepted by that.

        Raises:
            NotFoundError: If a file is missing.
            SettingError: If others may read the identity, or the roster does not list the site and its key,
                or does not follow the one that it has accepted before.
            StorageError: If the journal's folder cannot be used.
        """
        identity = load_identity(self.identity)
        return identity, check_roster(self.roster, self.accepted, identity).roster

    def deployment(self, file: PlanFile, roster: Roster) -> Deployment:
        """Run the model's program, and return what this site trains by, with its own key where sums need one.

        Raises:
            SettingError: If the plan does not fit the roster, or the key is not the plan's.
            ModelError: If the model cannot be made or trained.
        """
        made = file.build(roster)
        if not isinstance(made.aggregation, HomomorphicSum):
            if self.key is not None:
                raise SettingError(
                    f"{self.path}: key = '{self.key}', and {self.plan} sums by {made.aggregation.name}, "
                    "which needs none; leave it out"
                )
            return made
        if self.key is None:
            raise SettingError(
                f"{self.path}: key is missing; expected the key file of the sites, which {self.plan} sums "
                "under (secure = 'he')"
            )
        key = SharedKey.load(self.key)
        if key.key_id != made.aggregation.key_id:
            raise SettingError(
                f"{self.path}: key = '{self.key}' has the id {key.key_id.hex()}; expected that of "
                f"{self.plan}, key_id = {made.aggregation.key_id.hex()!r}"
            )
        return replace(made, aggregation=HomomorphicSum(key))

    def client(self, deployment: Deployment, identity: Identity) -> Client:
        """Load the data and return the site's client, which goes on from its state.

        Raises:
            NotFoundError: If there are no data, or no split ``train`` of them.
            SettingError: If the data or their units are not those of the plan.
            DataError: If the data cannot be read.
        """
        data, units = self.examples(deployment.file)
        config = ClientConfig(
            deployment.plan,
            deployment.aggregation,
            joins_late=self.joins_late,
            seed=self.seed,
            update_file=self.state / UPDATE_FILE,
        )
        journal = FolderJournal(self.journal)
        return Client(config, identity, data, deployment.net, journal, units=units)

    def examples(self, file: PlanFile) -> tuple[Dataset, PrivacyUnits | None]:
        """Return the examples to train on, and whom they belong to; None where each is for itself.

        Raises:
            NotFoundError: If there are no data, or no split ``train`` of them.
            SettingError: If the data or their units are not those of the plan.
            DataError: If the data cannot be read.
        """
        data = self._data(file)
        return data, self._units(file, data)

    def _data(self, file: PlanFile) -> Dataset:
        """The examples to train on, of the plan's shape and classes."""
        splits = load_data(self.data)
        if splits.train is None:
            raise NotFoundError(
                f"{self.path}: data = '{self.data}' has no split to train on, only "
                f"{', '.join(splits.as_dict())}; expected a folder train with a subfolder for each class in "
                "it, or arrays train_images and train_labels"
            )
        data = splits.train
        if data.shape != file.shape:
            raise SettingError(
                f"{self.path}: data = '{self.data}' has examples of shape {data.shape}; expected "
                f"{file.shape}, as shape of {file.path} says"
            )
        names = data.class_names
        is_named = names != tuple(map(str, range(data.num_classes)))
        if is_named and names != file.class_names:
            known = ", ".join(file.class_names) or f"{file.num_classes} without names"
            raise SettingError(
                f"{self.path}: data = '{self.data}' has the classes {', '.join(names)}; expected those of "
                f"{file.path} in their order, so that all sites mean the same by a label: {known}"
            )
        if data.num_classes > file.num_classes:
            raise SettingError(
                f"{self.path}: data = '{self.data}' has labels up to {data.num_classes - 1}; expected "
                f"{file.num_classes} classes from 0 up, as classes of {file.path} says"
            )
        return data.with_classes(file.num_classes)

    def _units(self, file: PlanFile, data: Dataset) -> PrivacyUnits | None:
        """Whom the examples belong to, where the plan protects somebody else than single records."""
        if file.unit == "record":
            if self.units is not None:
                raise SettingError(
                    f"{self.path}: units = '{self.units}', and {file.path} protects single records or none; "
                    "expected unit = 'patient' in its [privacy], or no units"
                )
            return None
        if self.units is None:
            raise SettingError(
                f"{self.path}: units is missing; expected a file with a line for each of {len(data)} "
                f"examples, the {file.unit} that it is of, which {file.path} protects"
            )
        found = PrivacyUnits(read_lines(self.units), name=file.unit)
        with prefix_errors(self.units):
            found.check_length(len(data))
        return found


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file.

    Raises:
        SettingError: If it cannot be read, a line is empty or has at an end what nobody sees, or two lines
            look alike, and would be two patients. Letters of other alphabets that look so are not found.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()  # a spreadsheet may put a mark at the start
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"cannot read {path}: {error}; expected a text with a line each") from error
    empty = [number for number, line in enumerate(lines, 1) if not as_seen(line)]
    if empty:
        raise SettingError(f"{path}, line {empty[0]} is empty; expected whom the example belongs to")
    first: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(lines, 1):
        if line != line.strip() or not line.isprintable():
            raise SettingError(
                f"{path}, line {number} is {line!a}; expected no blank at an end and no letter that nobody "
                "sees: two lines that look alike would be two, and protect neither"
            )
        other, same = first.setdefault(as_seen(line), (number, line))
        if same != line:
            raise SettingError(
                f"{path}, line {number} is {line!a}, and line {other} is {same!a}, which looks the same; "
                "expected one spelling, since the two would be two, and protect neither"
            )
    return lines
