"""The settings of a federation's server as a file, ``server.toml``.

::

    plan = "plan.toml"
    roster = "roster.toml"
    state = "/var/lib/quintain/server.safetensors"   # between rounds; a server that was killed goes on there
    model = "federated.safetensors"                  # the weights, after each round

    [deadlines]
    train = 3600.0
    stage = 60.0
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from quintain.core.errors import SettingError
from quintain.federated.deployment.plan_file import Deployment, load_plan
from quintain.federated.deployment.toml_table import prefix_errors, read_table
from quintain.federated.enrollment import load_roster
from quintain.federated.server import Server
from quintain.federated.toml_files import read_toml
from quintain.federated.transport import Deadlines
from quintain.models.weights import save_weights

KEYS: Mapping[str, object] = {"plan": Path, "roster": Path, "state": Path, "model": Path, "deadlines": dict}
REQUIRED = ("plan", "roster", "state", "model")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """A server's own settings.

    Args:
        path: The file that says them.
        plan: The plan's file.
        roster: The file of all sites.
        state: The file of its state, before and after each round.
        model: Where the model's weights go after each round, as safetensors.
        deadlines: How long it waits for sites.
    """

    path: Path
    plan: Path
    roster: Path
    state: Path
    model: Path
    deadlines: Deadlines = field(default_factory=Deadlines)

    @classmethod
    def load(cls, path: Path) -> "ServerSettings":
        """Read a server's file; paths in it are relative to its folder.

        Raises:
            NotFoundError: If it is missing.
            SettingError: If a key is unknown or missing, or a value is wrong.
        """
        values: dict[str, Any] = read_table(path, read_toml(path), KEYS, required=REQUIRED)
        seconds: dict[str, Any] = read_table(
            path, values.pop("deadlines", {}), get_type_hints(Deadlines), table="deadlines"
        )
        if values["model"] == values["state"]:
            raise SettingError(
                f"{path}: state and model are one file, {values['state']}; expected two: the model would be "
                "written over the state after each round, and no killed server could go on"
            )
        with prefix_errors(path, "deadlines"):
            return cls(path=path, deadlines=Deadlines(**seconds), **values)

    def deployment(self) -> Deployment:
        """Read plan and roster, and run the model's program.

        Raises:
            NotFoundError: If a file is missing.
            SettingError: If a value is wrong.
            ModelError: If the model cannot be made or trained.
        """
        made = load_plan(self.plan, load_roster(self.roster))
        if made.file.initial_weights == self.model:
            raise SettingError(
                f"{self.path}: model = '{self.model}' is the file of the first weights, initial_weights of "
                f"{self.plan}; expected another one, or a copy as first weights: it is written over after "
                "each round, and no killed server could go on"
            )
        return made

    def server(self) -> Server:
        """Return the server, which goes on from its state.

        Raises:
            NotFoundError: If a file is missing.
            SettingError: If a value is wrong.
            ModelError: If the model cannot be made or trained.
            RunFolderError: If the state is damaged, or of another training.
        """
        made = self.deployment()
        return Server(made.plan, made.net, made.aggregation, checkpoint=self.state)

    def save_model(self, server: Server) -> str:
        """Write the weights of the server's model, and return the file's SHA-256.

        Raises:
            StorageError: If it cannot be written.
        """
        return save_weights(server.net, self.model)
