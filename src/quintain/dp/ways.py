"""The ways in which users train, as something to measure: each tells what every step released, and of which
records.
"""

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
class TrainingStep:
    """What one step of a training did.

    Args:
        release: The flat noisy mean, in the order of the trainable parameters.
        rows: The records of its batch.
        drift: The weights after it, against what was released so far.
    """

    release: Tensor
    rows: Rows
    drift: Drift


Way = Callable[[nn.Module, Tensor, Tensor, PrivatePlan, int | None], list[TrainingStep]]
"""Trains a net on records and labels by a plan, as a user would; with a seed, so that it can be repeated."""


@dataclass(frozen=True, slots=True)
class KeptObservations:
    """What is observed of a training, and kept with the training's own state.

    Args:
        folder: Of this training alone; it stays.
        state: Gives what was observed so far, as tensors by name.
        load_state: Goes on after what ``state`` gave, in place of what was observed since.
    """

    folder: Path
    state: Callable[[], Mapping[str, Tensor]]
    load_state: Callable[[Mapping[str, Tensor]], None]


def fit_kept(
    net: nn.Module,
    data: LabeledRecords,
    plan: PrivatePlan,
    *,
    seed: int | None = None,
    progress: Progress = no_progress,
    on_step: Callable[[int, Tensor], None] | None = None,
    observed: KeptObservations | None = None,
) -> PrivateTrainingResult:
    """``fit`` as ``quintain privatize`` calls it: with its state kept, broken off half way, and gone on with
    from there by a run that begins with the first weights.

    Noise is then drawn from a key that outlives the process, and follows from the sum that it hides. The
    state is kept in a folder that is gone afterwards; or in that of what is ``observed``, about every ten
    seconds, and a process that was killed is gone on with in the same way.
    """
    first, half = deepcopy(net.state_dict()), plan.steps // 2

    def break_off(step: int, _epsilon: float) -> None:
        if step == half:
            raise _BrokenOffError

    with nullcontext(observed.folder) if observed else TemporaryDirectory() as folder:

        def run(on_checkpoint: Callable[[int, float], None] | None = None) -> PrivateTrainingResult:
            state = _HalfWay(Path(folder), observed)
            if observed is not None and state.has_state:
                observed.load_state(state.own_tensors)
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

        if _HalfWay(Path(folder)).steps < half:
            with suppress(_BrokenOffError):
                run(break_off)
            net.load_state_dict(first)
        return run()


class _HalfWay(ResumableRun):
    """A state that is written in the beginning, half way and in the end alone, to save time; and about every
    ten seconds where a killed process is to go on with it.
    """

    def __init__(self, folder: Path, observed: KeptObservations | None = None) -> None:
        super().__init__(folder, own_state=observed.state if observed else dict)
        self._timer = CheckpointTimer() if observed else None

    def should_save(self, step: int, plan: PrivatePlan, num_records: int) -> bool:  # noqa: ARG002
        """Whether that is now."""
        is_due = self._timer is not None and self._timer.is_due()
        return is_due or step in {plan.steps // 2, plan.steps}

    def save(
        self, net: nn.Module, optimizer: PrivateOptimizer[torch.optim.Optimizer], ema: EMA | None = None
    ) -> None:
        """Save the state between two steps."""
        with nullcontext() if self._timer is None else self._timer.writing():
            super().save(net, optimizer, ema)


class _BrokenOffError(Exception):
    """A run ends before its last step."""


def _by_fit(net: nn.Module, x: Tensor, y: Tensor, plan: PrivatePlan, seed: int | None) -> list[TrainingStep]:
    records, steps, replay = Watched(Features(x, y)), list[TrainingStep](), Replay(net.parameters(), plan)

    def seen(_step: int, release: Tensor) -> None:
        steps.append(TrainingStep(release.clone(), records.batch_in_hand(), replay.step(release)))

    fit_kept(net, records, plan, seed=seed, on_step=seen)
    return steps


def _by_loop(net: nn.Module, x: Tensor, y: Tensor, plan: PrivatePlan, seed: int | None) -> list[TrainingStep]:
    engine = PrivacyEngine(seed=seed)
    numbered = TensorDataset(x, y, torch.arange(len(x)))
    loader = DataLoader(numbered, batch_size=plan.expected_batch_size, generator=torch.Generator())
    model, optimizer, private = engine.make_private(
        module=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=plan.learning_rate, momentum=plan.momentum),
        data_loader=loader,
        noise_multiplier=plan.noise_multiplier,
        max_grad_norm=plan.max_grad_norm,
        allow_no_privacy=True,
    )
    steps, replay = list[TrainingStep](), Replay(net.parameters(), plan)
    try:
        while len(steps) < plan.steps:
            for inputs, labels, rows in private:
                optimizer.zero_grad()
                F.cross_entropy(model(inputs), labels).backward()
                optimizer.step()
                release = torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])
                steps.append(TrainingStep(release, rows.numpy(), replay.step(release)))
    finally:
        optimizer.capture.remove()
    return steps[: plan.steps]


WAYS: dict[str, Way] = {"fit": _by_fit, "loop": _by_loop}
"""The ways in which users train: ``quintain.dp.fit``, its state kept as in ``quintain privatize`` and gone on
with; ``make_private`` with their own loop.
"""


class Watched:
    """Records that remember which of them were asked for.

    Args:
        records: What is asked for.
    """

    def __init__(self, records: LabeledRecords) -> None:
        self._records, self._rows = records, list[Rows]()

    def __len__(self) -> int:
        return len(self._records)

    @property
    def hash(self) -> str:
        """Of the records, which are not counted as asked for by that."""
        return hash_of_records(self._records)

    def batch(self, ids: Rows) -> tuple[Tensor, Tensor]:
        """Inputs and labels of these rows."""
        self._rows.append(np.asarray(ids, dtype=np.int64))
        return self._records.batch(ids)

    def batch_in_hand(self) -> Rows:
        """The rows since the last time, in order, as often as they were asked for: once each, if sampling is
        as it should be.
        """
        rows = np.sort(np.concatenate([np.empty(0, dtype=np.int64), *self._rows]))
        self._rows.clear()
        return rows
