"""What trainings of one net on the same data tell of their members: natural ones and mislabeled canaries."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from quintain.core.progress import Progress, no_progress
from quintain.data.dataset import Dataset
from quintain.evaluate.leaks.job import LeakFindings, Trainer
from quintain.evaluate.leaks.membership import run_trial
from quintain.evaluate.leaks.membership_trial import own_target
from quintain.leakage.attack import LeakageAttack


@dataclass(frozen=True, slots=True)
class TrainingUnderTest:
    """A training whose members are to be told.

    Args:
        title: What records call it, such as ``private, epsilon 3``.
        build: Builds a fresh net from a seed.
        train: Trains it in place.
        epsilon, delta: The privacy that is claimed of it; None where none is.
        max_tpr: The largest true-positive rate that the claim allows at a false-positive rate; that of
            epsilon and delta if not given.
    """

    title: str
    build: Callable[[int], nn.Module]
    train: Trainer
    epsilon: float | None = None
    delta: float | None = None
    max_tpr: Callable[[float], float] | None = None


def compare_trainings(
    trainings: Sequence[TrainingUnderTest],
    data: Dataset,
    public: Dataset | None,
    attacks: Sequence[LeakageAttack],
    *,
    canaries: int = 100,
    shadows: int = 16,
    budget: int = 1000,
    seed: int = 0,
    folder: Path | None = None,
    workers: int | None = None,
    device: str = "cpu",
    progress: Progress = no_progress,
) -> LeakFindings:
    """Train a target and its shadow models by each training, and attack each target.

    All trainings have the same members, the same canaries and shadow models of the same halves, so that what
    differs is the training alone. Whoever attacks knows the training: shadow models of a private one are
    trained privately, too.

    Args:
        trainings: Such as a plain one and a private one.
        data: The candidates, half of which are members.
        public: Further examples that no net is trained on.
        attacks: All on membership.
        canaries: How many candidates are mislabeled.
        shadows: How many shadow models each training has; even.
        budget: Queries for each candidate.
        seed: Of everything that is drawn.
        folder: Where nets are kept, so that a killed run resumes; as private as the data.
        workers: Processes that train at once.
        device: Where nets are trained.
        progress: Shows bars.
    """
    found = [
        run_trial(
            own_target(
                data,
                public,
                build=one.build,
                train=one.train,
                title=one.title,
                canaries=canaries,
                epsilon=one.epsilon,
                delta=one.delta,
                max_tpr=one.max_tpr,
                seed=seed,
                folder=folder,
                device=device,
                progress=progress,
            ),
            attacks,
            budget=budget,
            shadows=shadows,
            seed=seed,
            folder=folder,
            workers=workers,
            progress=progress,
        )
        for one in trainings
    ]
    return LeakFindings(
        measurements=tuple(one for findings in found for one in findings.measurements),
        notes=tuple(dict.fromkeys(note for findings in found for note in findings.notes)),
    )
