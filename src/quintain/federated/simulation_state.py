"""The state of a simulated training between rounds, as one file: server and simulation never disagree.

Identities and journals are not in it: a simulation that goes on makes new ones. The sum and the updates of
the last round are, which a deployment would never put in one place; the data of all sites is there, too.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from quintain.core.files import write_atomically
from quintain.federated.differencing import OpenedSum
from quintain.federated.plan import TrainingPlan
from quintain.federated.reports import RoundReport, Simulated
from quintain.federated.secagg.encoding import WORD_DTYPE
from quintain.federated.server_state import ServerState, open_state, state_parts
from quintain.models.sealed_tensors import seal_checkpoint

TOTAL, UPDATE = "last.total", "last.update."


def save_simulation(
    path: Path,
    net: nn.Module,
    state: ServerState,
    rounds: list[RoundReport],
    last: OpenedSum | None,
    fingerprint: str,
) -> None:
    """Write everything that the next round depends on, whole or not at all.

    Raises:
        StorageError: If it cannot be written; what was there before stays.
    """
    tensors, metadata = state_parts(net, state, fingerprint)
    metadata["rounds"] = json.dumps([asdict(one) for one in rounds])
    if last is not None:
        metadata["last"] = json.dumps([list(last.survivors), list(last.encoded)])
        tensors[TOTAL] = torch.from_numpy(last.total)
        tensors |= {
            f"{UPDATE}{place}": torch.from_numpy(words.view(np.int32))
            for place, words in enumerate(last.encoded.values())
        }
    write_atomically(path, seal_checkpoint(tensors, metadata), mode=0o600)


def load_simulation(
    path: Path, net: nn.Module, plan: TrainingPlan, fingerprint: str
) -> tuple[ServerState, list[RoundReport], OpenedSum | None]:
    """Put a saved model into a net, and return the server's state, the reports and the last sum.

    Raises:
        RunFolderError: If the file is damaged, or of another training.
    """
    state, metadata, tensors = open_state(path, net, fingerprint)
    rounds = [_report(entry) for entry in json.loads(metadata["rounds"])]
    return state, rounds, _last(metadata, tensors, plan)


def _last(metadata: Mapping[str, str], tensors: Mapping[str, Tensor], plan: TrainingPlan) -> OpenedSum | None:
    if "last" not in metadata:
        return None
    survivors, names = json.loads(metadata["last"])
    encoded = {name: tensors[f"{UPDATE}{place}"].numpy().view(WORD_DTYPE) for place, name in enumerate(names)}
    return OpenedSum(tuple(survivors), tensors[TOTAL].numpy(), encoded, plan.encoding)


def _report(entry: dict[str, Any]) -> RoundReport:
    """A report from JSON, in which tuples are lists."""
    simulated = Simulated(**entry.pop("simulated"))
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()
    }
    return RoundReport(**values, simulated=simulated)
