"""Private trainings as users run them, observed step by step: what each step released, of which records."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from quintain.core.progress import CheckpointTimer, Progress, no_progress
from quintain.dp.opacus.privacy_engine import PrivacyEngine
from quintain.dp.replay import Drift, Replay
from quintain.dp.step.optimizer import PrivateOptimizer
from quintain.dp.training.features import Features, LabeledRecords
from quintain.dp.training.fitting import PrivateTrainingResult, fit
from quintain.dp.training.plan import PrivatePlan
from quintain.dp.training.resume import ResumableRun, hash_of_records
from quintain.training.ema import EMA

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ObservedStep:
    """What one step of a private training did.

    Args:
        release: The noisy mean gradient (P,), in the order of the trainable parameters.
        rows: The records of its batch.
        drift: How far the weights after it are from those that follow from the releases.
    """

    release: Tensor
    rows: Rows
    drift: Drift


ObservedTrainer = Callable[[nn.Module, Tensor, Tensor, PrivatePlan, int | None], list[ObservedStep]]
"""Trains a net on inputs and labels by a plan, with a seed or with fresh randomness (None)."""


@dataclass(frozen=True, slots=True)
class ObserverCheckpoint:
    """How an observer's state is saved with the state of the training that it observes.

    Args:
        folder: Of this training alone; it is not deleted.
        state: Returns what was observed so far, as tensors by name.
        load_state: Restores what ``state`` returned, and drops what was observed since.
    """

    folder: Path
    state: Callable[[], Mapping[str, Tensor]]
    load_state: Callable[[Mapping[str, Tensor]], None]


def fit_with_interruption(
    net: nn.Module,
    data: LabeledRecords,
    plan: PrivatePlan,
    *,
    seed: int | None = None,
    progress: Progress = no_progress,
    on_step: Callable[[int, Tensor], None] | None = None,
    observer: ObserverCheckpoint | None = None,
) -> PrivateTrainingResult:
    """Train by ``fit`` with saved state, interrupt it half way, and resume it from that state.

    ``quintain privatize`` trains in the same way. Unlike that of a plain ``fit``, the noise comes from a key
    that is saved, and depends on the sum that it hides, so that a repeated step adds the same noise to the
    same sum alone.

    Args:
        net: The net to train; the resumed run starts at its first weights, and loads the saved ones itself.
        data, plan, seed, progress, on_step: As for ``fit``.
        observer: Saves the observer's state, too, about every ten seconds, so that a process that was killed
            resumes. If not given, the training's state is in a temporary folder.
    """
    first_weights, half = deepcopy(net.state_dict()), plan.steps // 2

    def interrupt_half_way(step: int, _epsilon: float) -> None:
        if step == half:
            raise _HalfwayInterruptionError

    with nullcontext(observer.folder) if observer else TemporaryDirectory() as folder:

        def run(on_checkpoint: Callable[[int, float], None] | None = None) -> PrivateTrainingResult:
            state = _HalfwayRun(Path(folder), observer)
            if observer is not None and state.has_state:
                observer.load_state(state.own_tensors)
            return fit(
                net,
                data,
                plan,
                seed=seed,
                progress=progress,
                on_step=on_step,
                resume=state,
                on_checkpoint=on_checkpoint,
            )

        # a process that was killed in the second half has been interrupted already
        if _HalfwayRun(Path(folder)).steps < half:
            with suppress(_HalfwayInterruptionError):
                run(interrupt_half_way)
            net.load_state_dict(first_weights)
        return run()


class _HalfwayRun(ResumableRun):
    """A run whose state is saved at the start, half way and at the end only, to save time.

    With an observer it is also saved about every ten seconds.
    """

    def __init__(self, folder: Path, observer: ObserverCheckpoint | None = None) -> None:
        super().__init__(folder, own_state=observer.state if observer else dict)
        self._timer = CheckpointTimer() if observer else None

    def should_save(self, step: int, plan: PrivatePlan, num_records: int) -> bool:  # noqa: ARG002
        """Whether the state is to be saved after this step."""
        is_due = self._timer is not None and self._timer.is_due()
        return is_due or step in {plan.steps // 2, plan.steps}

    def save(
        self, net: nn.Module, optimizer: PrivateOptimizer[torch.optim.Optimizer], ema: EMA | None = None
    ) -> None:
        """Save the state between two steps."""
        with nullcontext() if self._timer is None else self._timer.writing():
            super().save(net, optimizer, ema)


class _HalfwayInterruptionError(Exception):
    """Interrupts a training after half of its steps."""


def _train_by_fit(
    net: nn.Module, x: Tensor, y: Tensor, plan: PrivatePlan, seed: int | None
) -> list[ObservedStep]:
    records, replay = TrackedRecords(Features(x, y)), Replay(net.parameters(), plan)
    steps: list[ObservedStep] = []

    def observe(_step: int, release: Tensor) -> None:
        steps.append(ObservedStep(release.clone(), records.pop_read_rows(), replay.step(release)))

    fit_with_interruption(net, records, plan, seed=seed, on_step=observe)
    return steps


def _train_by_loop(
    net: nn.Module, x: Tensor, y: Tensor, plan: PrivatePlan, seed: int | None
) -> list[ObservedStep]:
    engine = PrivacyEngine(seed=seed)
    numbered = TensorDataset(x, y, torch.arange(len(x)))
    loader = DataLoader(numbered, batch_size=plan.expected_batch_size, generator=torch.Generator())
    model, optimizer, private_loader = engine.make_private(
        module=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=plan.learning_rate, momentum=plan.momentum),
        data_loader=loader,
        noise_multiplier=plan.noise_multiplier,
        max_grad_norm=plan.max_grad_norm,
        allow_no_privacy=True,
    )
    steps, replay = list[ObservedStep](), Replay(net.parameters(), plan)
    try:
        while len(steps) < plan.steps:
            for inputs, labels, rows in private_loader:
                optimizer.zero_grad()
                F.cross_entropy(model(inputs), labels).backward()
                optimizer.step()
                release = torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])
                steps.append(ObservedStep(release, rows.numpy(), replay.step(release)))
                if len(steps) == plan.steps:
                    break
    finally:
        optimizer.capture.remove()
    return steps


TRAINERS: dict[str, ObservedTrainer] = {"fit": _train_by_fit, "loop": _train_by_loop}
"""Private training by ``fit`` with an interruption, and by a loop of one's own over ``make_private``."""


class TrackedRecords:
    """Labeled records that note which of their rows are read.

    Args:
        records: The records themselves.
    """

    def __init__(self, records: LabeledRecords) -> None:
        self._records, self._read_rows = records, list[Rows]()

    def __len__(self) -> int:
        return len(self._records)

    @property
    def hash(self) -> str:
        """The hash of the records; the rows that it reads are not noted."""
        return hash_of_records(self._records)

    def batch(self, ids: Rows) -> tuple[Tensor, Tensor]:
        """Inputs and labels of these rows."""
        self._read_rows.append(np.asarray(ids, dtype=np.int64))
        return self._records.batch(ids)

    def pop_read_rows(self) -> Rows:
        """The rows read since the last call, in order; a row that was read twice is there twice."""
        rows = np.sort(np.concatenate([np.empty(0, dtype=np.int64), *self._read_rows]))
        self._read_rows.clear()
        return rows
