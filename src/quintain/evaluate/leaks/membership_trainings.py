"""What trainings of one net on the same data tell of their members: natural ones and mislabeled canaries."""

from collections.abc import Sequence
from pathlib import Path

from quintain.core.progress import Progress, no_progress
from quintain.data.dataset import Dataset
from quintain.evaluate.leaks.job import LeakFindings, TargetTraining
from quintain.evaluate.leaks.membership import run_trial
from quintain.evaluate.leaks.membership_trial import own_target
from quintain.leakage.attack import LeakageAttack


def compare_trainings(
    trainings: Sequence[TargetTraining],
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
                one,
                data,
                public,
                canaries=canaries,
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
