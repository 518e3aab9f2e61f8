"""The state of a simulated training between rounds, as one file: server and simulation never disagree.

Identities and journals are not in it: a simulation that goes on makes new ones. The last sums and the updates
in them are, which a deployment would never put in one place; the data of all sites is there, too. So
are the secrets that the rounds which are over revealed to the server: the attack on a later round tries them.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from quintain.core.errors import PrivacyError, RunFolderError
from quintain.core.files import remove_leftovers, write_atomically
from quintain.federated.client import Client
from quintain.federated.differencing import OpenedSum
from quintain.federated.plan import TrainingPlan
from quintain.federated.reports import RoundReport, SimulationFacts
from quintain.federated.secagg.encoding import WORD_DTYPE
from quintain.federated.secagg.primitives import KEY_BYTES
from quintain.federated.server import Server
from quintain.federated.server_state import ServerState, open_state, state_parts
from quintain.models.sealed_tensors import seal_checkpoint

TOTAL, UPDATE, SECRETS = "last.total.", "last.update.", "revealed"


def save_simulation(
    path: Path,
    net: nn.Module,
    state: ServerState,
    rounds: list[RoundReport],
    last: Sequence[OpenedSum],
    known_secrets: Collection[bytes],
    fingerprint: str,
) -> None:
    """Write everything that the next round depends on, whole or not at all.

    Raises:
        StorageError: If it cannot be written; what was there before stays.
    """
    tensors, metadata = state_parts(net, state, fingerprint)
    metadata["rounds"] = json.dumps([asdict(one) for one in rounds])
    metadata["last"] = json.dumps([list(one.encoded) for one in last])
    for number, one in enumerate(last):
        tensors[f"{TOTAL}{number}"] = torch.from_numpy(one.total)
        for place, words in enumerate(one.encoded.values()):
            tensors[f"{UPDATE}{number}.{place}"] = torch.from_numpy(words.view(np.int32))
    if known_secrets:
        together = bytearray(b"".join(sorted(known_secrets)))
        tensors[SECRETS] = torch.frombuffer(together, dtype=torch.uint8).view(-1, KEY_BYTES)
    write_atomically(path, seal_checkpoint(tensors, metadata), mode=0o600)


def start_simulation(
    path: Path | None, server: Server, clients: Sequence[Client], fingerprint: str
) -> tuple[list[RoundReport], tuple[OpenedSum, ...], frozenset[bytes]]:
    """Put a saved state into a server, or save its first one; return reports, last sums, revealed secrets.

    The first state is there before any update: what a folder holds is of the training that its state names.

    Raises:
        PrivacyError: If a site's ledger holds less than its updates of the rounds that are over took.
        RunFolderError: If the file is damaged, or of another training, or there are updates without it.
        StorageError: If it cannot be written.
    """
    if path is None:
        return [], (), frozenset()
    remove_leftovers(path)
    if not path.exists():
        _check_no_updates(path, clients)
        save_simulation(path, server.net, server.state, [], (), (), fingerprint)
        return [], (), frozenset()
    server.state, metadata, tensors = open_state(path, server.net, fingerprint)
    rounds = [_report(entry) for entry in json.loads(metadata["rounds"])]
    _check_ledgers(server.plan, clients, rounds)
    known = frozenset(one.numpy().tobytes() for one in tensors.get(SECRETS, ()))
    return rounds, _last(metadata, tensors, server.plan), known


def _check_no_updates(path: Path, clients: Sequence[Client]) -> None:
    """Refuse updates without the state of the training that they are of."""
    for one in clients:
        file = one.config.update_file
        if file is not None and file.exists():
            raise RunFolderError(
                f"{file} is an update of a training whose {path.name} is missing; expected both or none: "
                "choose another folder, or delete this one"
            )


def _check_ledgers(plan: TrainingPlan, clients: Sequence[Client], rounds: Sequence[RoundReport]) -> None:
    """Refuse ledgers that hold less than the sites' updates of the rounds that are over took."""
    if plan.config.site_privacy is None:
        return
    for one in clients:
        models, moves = set(), 0
        for report in rounds:
            simulated = report.simulated
            if one.name in report.survivors or one.name in simulated.losses.keys() - simulated.left.keys():
                models.add(moves)
            moves += not report.abort_reason
        expected = len(models) * plan.config.site_privacy.steps
        if one.ledger.steps < expected:
            raise PrivacyError(
                f"the ledger of {one.name} in {one.config.update_file} holds {one.ledger.steps} steps; "
                f"expected at least {expected}, as its updates in the {len(rounds)} rounds so far took: what "
                "was spent cannot be stated, start the training anew in another folder"
            )


def _last(
    metadata: Mapping[str, str], tensors: Mapping[str, Tensor], plan: TrainingPlan
) -> tuple[OpenedSum, ...]:
    last = []
    for number, names in enumerate(json.loads(metadata["last"])):
        updates = (tensors[f"{UPDATE}{number}.{place}"].numpy() for place in range(len(names)))
        encoded = {name: words.view(WORD_DTYPE) for name, words in zip(names, updates, strict=True)}
        last.append(OpenedSum(tensors[f"{TOTAL}{number}"].numpy(), encoded, plan.encoding))
    return tuple(last)


def _report(entry: dict[str, Any]) -> RoundReport:
    """A report from JSON, in which tuples are lists."""
    simulated = SimulationFacts(**entry.pop("simulated"))
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()
    }
    return RoundReport(**values, simulated=simulated)
