"""One private training with canaries, observed step by step; what was observed is saved with its state."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from quintain.core.progress import Progress
from quintain.data.dataset import Dataset
from quintain.dp import PrivatePlan, PrivateTrainingResult
from quintain.dp.observed_training import ObserverCheckpoint, Rows, TrackedRecords, fit_with_interruption
from quintain.dp.replay import Drift, Replay
from quintain.dp.training.resume import STATE_FILE, ResumableRun, delete_unfinished
from quintain.leakage import CanaryRun, train_with_canaries
from quintain.leakage.canaries import CanaryObserver


@dataclass(frozen=True, slots=True)
class AuditedTraining:
    """One training run with canaries.

    Args:
        seen: What was released on their coordinates.
        spent: What the run's own ledger says.
        batches: The records of each batch.
        drifts: The weights after each step, and those in the end, against what was released so far.
    """

    seen: CanaryRun
    spent: PrivateTrainingResult
    batches: tuple[Rows, ...]
    drifts: tuple[Drift, ...]


def train_and_observe(
    net: nn.Module,
    train: Dataset,
    plan: PrivatePlan,
    canaries: int,
    seed: int,
    folder: Path | None,
    progress: Progress,
) -> AuditedTraining:
    """Train once with canaries in the place of as many records, so that all public settings stay the
    plan's.

    Args:
        net: Copied; the copy is trained.
        train: Records that the plan is for.
        plan: The public settings.
        canaries: How many.
        seed: Of the coins.
        folder: Where the training's state and what was observed are kept, so that a call with the same
            arguments resumes; nothing is kept if not given.
        progress: Shows a bar of steps.
    """
    fits: list[PrivateTrainingResult] = []
    batches: list[Rows] = []
    drifts: list[Drift] = []

    def work(canary_net: nn.Module, with_canaries: Dataset, observe: CanaryObserver) -> None:
        records, replay = TrackedRecords(with_canaries), Replay(canary_net.parameters(), plan)

        def on_step(step: int, release: Tensor) -> None:
            batches.append(records.pop_read_rows())
            drifts.append(replay.step(release))
            observe(step, release)

        def state() -> dict[str, Tensor]:
            rows, sizes = np.concatenate([np.empty(0, np.int64), *batches]), [len(one) for one in batches]
            moved = [(one.distance, one.rounding_bound, one.noise_norm) for one in drifts]
            return {
                **{f"observer.{name}": value for name, value in observe.state().items()},
                **{f"replay.{name}": value for name, value in replay.state().items()},
                "rows": torch.from_numpy(rows),
                "sizes": torch.tensor(sizes, dtype=torch.int64),
                "drifts": torch.tensor(moved, dtype=torch.float64).reshape(-1, 3),
            }

        def load_state(state: Mapping[str, Tensor]) -> None:
            for name, part in (("observer.", observe), ("replay.", replay)):
                part.load_state({key.removeprefix(name): value for key, value in state.items()})
            ends = state["sizes"].cumsum(0).numpy()
            batches[:] = np.split(state["rows"].numpy(), ends)[:-1]
            drifts[:] = [Drift(*one) for one in state["drifts"].tolist()]

        checkpoint = None if folder is None else ObserverCheckpoint(folder, state, load_state)
        fits.append(
            fit_with_interruption(
                canary_net, records, plan, progress=progress, on_step=on_step, observer=checkpoint
            )
        )
        drifts.append(replay.end())

    others = train.subset(np.arange(len(train) - canaries))
    seen = train_with_canaries(
        work, copy.deepcopy(net), others, canaries=canaries, max_grad_norm=plan.max_grad_norm, seed=seed
    )
    return AuditedTraining(seen, fits[0], tuple(batches), tuple(drifts))


@contextmanager
def interruption_of_audit(unfinished: Path | None) -> Iterator[None]:
    """Say in an interruption how much is kept of all trainings in a folder; without a step it is deleted."""
    try:
        yield
    except KeyboardInterrupt:
        states = unfinished.glob(f"*/{STATE_FILE}") if unfinished else ()
        steps = sum(ResumableRun(state.parent).steps for state in states)
        if unfinished and not steps:
            delete_unfinished(unfinished)
        raise KeyboardInterrupt(f"{steps:,} steps of the audited trainings" if steps else "") from None
