"""Knockoff nets: a copy from a model's answers to random public examples."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from quintain.core.limits import require_at_least
from quintain.core.progress import Progress, no_progress
from quintain.core.seeds import derive_seed
from quintain.leakage.answers import query_public, require_model_view
from quintain.leakage.attack import Candidates, Goal, Guess
from quintain.leakage.extraction.student import Student
from quintain.leakage.knowledge import Knowledge, require_public
from quintain.leakage.view import AttackerView


@dataclass(frozen=True, slots=True)
class Knockoff:
    """Query random public examples, and train a net on the answers (scores, or labels alone).

    With a larger budget it queries the same examples first, so that its curve over queries is that of one
    attacker who goes on.

    Args:
        student: How the copy is trained.

    Source: Orekondy, Schiele, Fritz, 2018, arXiv:1812.02766 (their random strategy).
    """

    kind: ClassVar[str] = "leak"
    name: ClassVar[str] = "knockoff"
    summary: ClassVar[str] = "a copy of the model, trained on its answers to random public examples"
    guarantee: ClassVar[str] = "a witness: the copy agrees with the model on as many held-out examples"
    goal: ClassVar[Goal] = "agreement"
    access: ClassVar[str] = "labels"
    needs: ClassVar[tuple[str, ...]] = ("public",)
    default_rank: ClassVar[int] = 1

    student: Student = field(default_factory=Student)

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
        """Return a copy of the model, the one candidate, from at most ``budget`` queries.

        Raises:
            SettingError: If no public examples are known, or the budget is below 1.
        """
        require_at_least(1, budget=budget, candidates=len(candidates))
        model = require_model_view(view, attack=self.name)
        public = require_public(knowledge, attack=self.name)
        order = np.random.default_rng(derive_seed(seed, "public order")).permutation(len(public))
        ids = order[:budget].tolist()
        answers = query_public(model, public, ids)
        copy = self.student.train(
            public, ids, answers, knowledge, device=model.device, seed=seed, progress=progress
        )
        return Guess(model=copy, queries=float(len(ids)))
