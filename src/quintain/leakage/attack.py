"""What all leakage attacks have in common: they guess, and never see the answer.

An attack gets a view of a model or of updates, what else an attacker knows, and candidates to guess about.
One judge for each goal compares the guess with the truth (``leakage.judges``), the same for all attacks of
the goal, beside baselines that need no view.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol

from torch import Tensor

from quintain.core.errors import SettingError
from quintain.core.progress import Progress, no_progress
from quintain.leakage.knowledge import Knowledge
from quintain.leakage.view import AttackerView
from quintain.models.protocol import ClassifierLike

Goal = Literal["membership", "identity", "pictures", "agreement", "attributes", "exposure"]
"""Whether an example was trained on; the face of a class; the pictures behind an update; a copy of the model;
a hidden attribute; how far a canary is memorized."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """What an attack guesses about; n of them.

    Args:
        y: Labels (n,): of the examples, or the classes whose pictures are sought.
        ids: Numbers (n,) that random draws follow, so that a split changes no guess.
        x: Examples (n, *S) in [0, 1]; None where they are what is sought.
        shape: Shape S of one example.
    """

    y: Tensor
    ids: Tensor
    shape: Sequence[int]
    x: Tensor | None = None

    def __len__(self) -> int:
        return len(self.y)

    def examples(self, *, attack: str) -> Tensor:
        """Return the examples (n, *S) that are guessed about.

        Raises:
            SettingError: If they are what is sought.
        """
        if self.x is None:
            raise SettingError(f"{attack} guesses about examples; expected Candidates(x=...) with them")
        return self.x


@dataclass(frozen=True, slots=True)
class Guess:
    """What an attack guesses; which field it fills in follows from its goal.

    Args:
        scores: (n,) float64, one a candidate. Membership and exposure: larger means more likely trained on.
        images: (k, *S) in [0, 1]. Identity: one a candidate; pictures: k of them, in any order.
        labels: (n,) int64. Attributes: the value that is guessed.
        model: Agreement: the copy, from inputs (B, *S) to logits (B, K).
        queries: Queries of each candidate, on average; where a model is copied, it is the one candidate.
    """

    scores: Tensor | None = None
    images: Tensor | None = None
    labels: Tensor | None = None
    model: ClassifierLike | None = None
    queries: float = 0.0


class LeakageAttack(Protocol):
    """A leakage attack: a frozen dataclass of its public settings, without state, device or model inside.

    Class variables:
        kind: ``leak``.
        name, summary: What users type; one line for ``quintain list``.
        guarantee: What a guess may be taken for.
        goal: What it guesses; the judge of the goal decides how well.
        access: The least that it must see: ``labels``, ``scores``, ``gradients``, ``update`` or ``sum``.
        needs: What it must know beside: ``public``, ``shadows``, ``architecture``, ``attribute``.
        default_rank: Its place among those of its goal that are taken where none was named, from 1.
    """

    kind: ClassVar[str]
    name: ClassVar[str]
    summary: ClassVar[str]
    guarantee: ClassVar[str]
    goal: ClassVar[Goal]
    access: ClassVar[str]
    needs: ClassVar[tuple[str, ...]]
    default_rank: ClassVar[int]

    def guess(
        self,
        view: AttackerView,
        knowledge: Knowledge,
        candidates: Candidates,
        *,
        budget: int,
        seed: int,
        progress: Progress = no_progress,
    ) -> Guess:
        """Return the guess about all candidates.

        Args:
            view: Answers the attack's queries and counts them.
            knowledge: What else the attacker knows.
            candidates: What is to be guessed about, without the answer.
            budget: Queries that it may make for each candidate.
            seed: All random numbers follow from it and the candidates' ids.
            progress: Shows a bar.
        """


@dataclass(frozen=True, slots=True)
class LeakJudgment:
    """How well a guess is, as the judge of its goal measured it, beside what needs no view.

    Args:
        measure: What is measured, such as ``TPR at 1 % FPR``.
        value: The attack's value.
        low, high: Its interval at ``confidence``.
        baseline: The best value without the view, with the same freedom to choose.
        baseline_name: What gives it.
        unit: What one trial is, such as ``image``.
        ceiling: The largest value that a claimed guarantee allows; None where nothing is claimed.
        confidence: Of the interval.
        per_example: One number a candidate, in their order; larger means more exposed.
        curve: Points (x, y) of a curve to be drawn, such as (FPR, TPR).
    """

    measure: str
    value: float
    low: float
    high: float
    baseline: float
    baseline_name: str
    unit: str
    ceiling: float | None = None
    confidence: float = 0.95
    per_example: tuple[float, ...] = ()
    curve: tuple[tuple[float, float], ...] = field(default=())

    @property
    def gain(self) -> float:
        """What the view gave beyond the baseline."""
        return self.value - self.baseline
