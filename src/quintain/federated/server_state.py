"""The state of a server between rounds, as one file: the model, what was published, and the reports."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from quintain.core.errors import RunFolderError
from quintain.core.files import write_atomically
from quintain.federated.reports import ServerReport
from quintain.federated.round_messages import PublishedSum
from quintain.federated.strategies.strategy import State
from quintain.models.sealed_tensors import read_checkpoint, seal_checkpoint, select_prefix

WEIGHTS, STRATEGY, PUBLISHED = "weights.", "optimizer.", "published"


@dataclass(frozen=True, slots=True)
class ServerState:
    """What a server must remember from round to round, beside the model.

    Args:
        reports: Of all rounds that are over.
        next_counter: Of the next round; every round that was ever opened had its own.
        cheaters: Sites that are left out, and why.
        published: The last sum.
        strategy: What the strategy remembers.
    """

    reports: tuple[ServerReport, ...] = ()
    next_counter: int = 0
    cheaters: Mapping[str, str] = field(default_factory=dict)
    published: PublishedSum | None = None
    strategy: State = field(default_factory=dict, repr=False)

    def with_next_counter(self) -> "ServerState":
        """Return the state after one more counter was used."""
        return replace(self, next_counter=self.next_counter + 1)

    def after_step(self, published: PublishedSum, strategy: State) -> "ServerState":
        """Return the state after a step of the model."""
        return replace(self, published=published, strategy=strategy)

    def last_sums(self, names: Iterable[str]) -> tuple[int, ...]:
        """Return for each site the round, counted from 1, in whose sum its update was last; 0 for none."""
        last = {name: report.index + 1 for report in self.reports for name in report.survivors}
        return tuple(last.get(name, 0) for name in names)

    def after(self, report: ServerReport) -> "ServerState":
        """Return the state after a round: whom it accused takes part in no other."""
        reason = f"it is proven to have cheated in round {report.index} (counted from 0): left out"
        cheaters = {**self.cheaters, **dict.fromkeys(report.accused, reason)}
        return replace(self, reports=(*self.reports, report), cheaters=cheaters)


def save_state(path: Path, net: nn.Module, state: ServerState, fingerprint: str) -> None:
    """Write the model and the state, whole or not at all.

    Raises:
        StorageError: If it cannot be written; what was there before stays.
    """
    write_atomically(path, seal_checkpoint(*state_parts(net, state, fingerprint)))


def state_parts(
    net: nn.Module, state: ServerState, fingerprint: str
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the texts of a file that holds a model and a state."""
    tensors = {f"{WEIGHTS}{name}": value for name, value in net.state_dict().items()}
    tensors |= {f"{STRATEGY}{name}": value for name, value in state.strategy.items()}
    saved: dict[str, object] = {
        "reports": [asdict(report) for report in state.reports],
        "next_counter": state.next_counter,
        "cheaters": dict(state.cheaters),
    }
    if state.published is not None:
        tensors[PUBLISHED] = torch.from_numpy(state.published.integers)
        saved["published"] = [state.published.counter, *state.published.survivors]
    return tensors, {"fingerprint": fingerprint, "state": json.dumps(saved)}


def load_state(path: Path, net: nn.Module, fingerprint: str) -> ServerState:
    """Put a saved model into a net, and return the state beside it.

    Raises:
        RunFolderError: If the file is damaged, or of another training.
    """
    return open_state(path, net, fingerprint)[0]


def open_state(
    path: Path, net: nn.Module, fingerprint: str
) -> tuple[ServerState, dict[str, str], dict[str, Tensor]]:
    """Do as ``load_state``, and return all texts and tensors of the file as well."""
    metadata, tensors = read_checkpoint(path, "delete it to start the training anew")
    if metadata.get("fingerprint") != fingerprint:
        raise RunFolderError(
            f"{path} is the state of a training under other terms (sites, their keys, net, first model, "
            "rounds, recipe, weights, clip, threshold, aggregation); delete it or choose another folder"
        )
    net.load_state_dict(select_prefix(tensors, WEIGHTS))
    net.eval()
    saved = json.loads(metadata["state"])
    published = None
    if "published" in saved:
        counter, *survivors = saved["published"]
        published = PublishedSum(counter, tuple(survivors), tensors[PUBLISHED].numpy())
    state = ServerState(
        reports=tuple(_report(entry) for entry in saved["reports"]),
        next_counter=saved["next_counter"],
        cheaters=saved["cheaters"],
        published=published,
        strategy=select_prefix(tensors, STRATEGY),
    )
    return state, metadata, tensors


def _report(entry: dict[str, object]) -> ServerReport:
    """A report from JSON, in which tuples are lists."""
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()}
    return ServerReport(**values)  # type: ignore[arg-type]
