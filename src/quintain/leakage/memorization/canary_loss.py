"""How likely a model finds the label of a random pattern: what tells a canary from one that was not used."""

from dataclasses import dataclass
from typing import ClassVar

from quintain.core.limits import require_at_least
from quintain.core.progress import Progress, no_progress
from quintain.leakage.answers import query_log_odds, require_model_view
from quintain.leakage.attack import Candidates, Goal, Guess
from quintain.leakage.knowledge import Knowledge
from quintain.leakage.view import AttackerView


@dataclass(frozen=True, slots=True)
class CanaryLoss:
    r"""Score a pattern by the log odds of its label under the model: memorized canaries come first.

    .. math:: \phi = \ln\frac{p_y}{1 - p_y}

    which has the order of the loss, and keeps it where the loss rounds to 0.

    Source: Carlini, Liu, Erlingsson, Kos, Song, 2018, arXiv:1802.08232.
    """

    kind: ClassVar[str] = "leak"
    name: ClassVar[str] = "canary-loss"
    summary: ClassVar[str] = "canaries among patterns that were not used, by the loss of their labels"
    guarantee: ClassVar[str] = "a guess: canaries before unused patterns of the same law were memorized"
    goal: ClassVar[Goal] = "exposure"
    access: ClassVar[str] = "scores"
    needs: ClassVar[tuple[str, ...]] = ()
    default_rank: ClassVar[int] = 1

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
            SettingError: If the candidates are not given, or the budget is below 1.
        """
        del knowledge, seed, progress  # it knows nothing, and draws nothing
        require_at_least(1, budget=budget)
        model, x = require_model_view(view, attack=self.name), candidates.examples(attack=self.name)
        return Guess(scores=query_log_odds(model, x, candidates.y), queries=1.0)
