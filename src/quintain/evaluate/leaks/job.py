"""What the measurement of a leak is given, and what it finds; one shape for all goals."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from quintain.core.errors import SettingError
from quintain.core.progress import Progress, no_progress
from quintain.data.dataset import Dataset
from quintain.leakage.attack import LeakageAttack
from quintain.leakage.hidden_attribute import HiddenAttribute
from quintain.models.protocol import Access, ClassifierLike
from quintain.results.leak_records import LeakMeasurement, LeakPictures

Trainer = Callable[[nn.Module, Dataset, int], None]
"""Trains a fresh net in place on a data set by a seed, as the target was trained."""


@dataclass(frozen=True, slots=True)
class TargetTraining:
    """How a model came about, so that others like it can be trained.

    Args:
        title: What records call a model that is trained so, such as ``private, epsilon 3``.
        build: Builds a fresh net of the architecture from a seed.
        train: Trains it in place.
        epsilon, delta, max_tpr: The privacy that is claimed of it, as of ``LeakTarget``.
    """

    title: str
    build: Callable[[int], nn.Module]
    train: Trainer
    epsilon: float | None = None
    delta: float | None = None
    max_tpr: Callable[[float], float] | None = None

    def target(self, model: ClassifierLike) -> "LeakTarget":
        """Return a model that was trained so as a target."""
        return LeakTarget(
            model,
            self.title,
            build=self.build,
            train=self.train,
            epsilon=self.epsilon,
            delta=self.delta,
            max_tpr=self.max_tpr,
        )


@dataclass(frozen=True, slots=True)
class LeakTarget:
    """The model that is attacked, and what is known of how it came about.

    Args:
        model: The model.
        title: What records call it, such as ``private, epsilon 3``.
        build: Builds a fresh net of its architecture from a seed; None where that is not known.
        train: Trains such a net as the target was trained; None where that is not known.
        epsilon, delta: The privacy that is claimed for each of its training examples; None where none is.
        max_tpr: The largest true-positive rate that this claim allows at a false-positive rate, such as the
            accountant's trade-off function; that of epsilon and delta if not given.
    """

    model: ClassifierLike
    title: str
    build: Callable[[int], nn.Module] | None = None
    train: Trainer | None = None
    epsilon: float | None = None
    delta: float | None = None
    max_tpr: Callable[[float], float] | None = None

    @property
    def training(self) -> TargetTraining:
        """How it was trained.

        Raises:
            SettingError: If that is not known.
        """
        if self.build is None or self.train is None:
            raise SettingError(
                f"how {self.title} was trained is not known, by which shadow models and second models are "
                "trained; expected target.build and target.train, or an attack without such models, such as "
                "loss-threshold"
            )
        return TargetTraining(
            self.title,
            self.build,
            self.train,
            epsilon=self.epsilon,
            delta=self.delta,
            max_tpr=self.max_tpr,
        )


@dataclass(frozen=True, slots=True)
class LeakJob:
    """The attacks of one goal on one target.

    Args:
        target: What is attacked.
        attacks: All of this goal.
        members: Examples that the target was trained on.
        others: Examples of the same kind that it never saw; whoever attacks may know some of them.
        access: The attacker's level; what the model gives if not given.
        budget: Queries that an attack may make for each candidate.
        candidates: How many of the members are guessed about, at most.
        attribute: What is hidden of each example, where an attack guesses that.
        shadows: How many shadow models are trained, where an attack needs some; even.
        canaries: How many mislabeled examples are candidates of a target that is trained for this alone, as
            the target was: a worst case; 0 for none.
        workers: Processes that train shadow models at once; as many as there are cores if not given.
        seed: Of everything that is drawn.
        folder: The run folder, for pictures.
        show: Whether private pictures may be stored.
        unfinished: Where finished parts are kept, so that a killed run resumes; as private as the data.
        progress: Shows bars.
        public: For the goal ``identity``: pictures of people who are no class of the target, under labels of
            their own; those of ``others`` under labels that no member has, if not given.
    """

    target: LeakTarget
    attacks: Sequence[LeakageAttack]
    members: Dataset
    others: Dataset
    access: Access | None = None
    budget: int = 1000
    candidates: int = 1000
    attribute: HiddenAttribute | None = None
    shadows: int = 16
    canaries: int = 0
    workers: int | None = None
    seed: int = 0
    folder: Path | None = None
    show: bool = False
    unfinished: Path | None = None
    progress: Progress = no_progress
    public: Dataset | None = None


@dataclass(frozen=True, slots=True)
class LeakFindings:
    """What the attacks of one goal found.

    Args:
        measurements: One for each attack and measure.
        pictures: Private pictures beside what was made of them, if they may be shown.
        notes: What the reader must know to trust the numbers.
    """

    measurements: tuple[LeakMeasurement, ...]
    pictures: tuple[LeakPictures, ...] = ()
    notes: tuple[str, ...] = ()
