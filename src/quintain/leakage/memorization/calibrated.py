"""Canary scores less what a model that never saw them gives: what is left is memory, not what looks alike."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch

from quintain.core.limits import require_at_least
from quintain.core.progress import Progress, no_progress
from quintain.core.seeds import derive_seed
from quintain.leakage.answers import query_log_odds, require_model_view
from quintain.leakage.attack import Candidates, Goal, Guess
from quintain.leakage.extraction.student import Student
from quintain.leakage.knowledge import Knowledge, require_public
from quintain.leakage.view import AttackerView, ModelView


@dataclass(frozen=True, slots=True)
class CalibratedCanaryLoss:
    r"""Score a pattern by how much likelier the model finds its label than the attacker's own net does.

    .. math:: \phi(x, y) - \phi_0(x, y)

    in log odds, with a net :math:`\phi_0` that public examples trained. Patterns that any net takes for class
    y then no longer hide the canaries that were memorized under y.

    Args:
        student: How the attacker's net is trained.

    Source: Watson, Guo, Cormode, Sablayrolles, 2021, arXiv:2111.08440 (difficulty calibration), on canaries.
    """

    kind: ClassVar[str] = "leak"
    name: ClassVar[str] = "calibrated-canary-loss"
    summary: ClassVar[str] = (
        "canaries among unused patterns, by the loss beyond that of the attacker's own net"
    )
    guarantee: ClassVar[str] = "a guess: canaries before unused patterns of the same law were memorized"
    goal: ClassVar[Goal] = "exposure"
    access: ClassVar[str] = "scores"
    needs: ClassVar[tuple[str, ...]] = ("public",)
    default_rank: ClassVar[int] = 2

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
        """Return the score of each candidate, one query each.

        Raises:
            SettingError: If no public examples are known, the candidates are not given, or the budget is
                below 1.
        """
        require_at_least(1, budget=budget)
        model, x = require_model_view(view, attack=self.name), candidates.examples(attack=self.name)
        public = require_public(knowledge, attack=self.name)
        scores = query_log_odds(model, x, candidates.y)
        labels = torch.from_numpy(public.labels)
        own = self.student.train(
            public,
            range(len(public)),
            torch.nn.functional.one_hot(labels, model.num_classes).float(),
            knowledge,
            device=model.device,
            seed=derive_seed(seed, "calibration"),
            progress=progress,
        )
        return Guess(scores=scores - query_log_odds(ModelView(own), x, candidates.y), queries=1.0)
