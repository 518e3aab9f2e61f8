"""The loss as a score: what a model is sure of, it was rather trained on."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from quintain.core.progress import Progress, no_progress
from quintain.leakage.answers import require_model_view
from quintain.leakage.attack import Candidates, Goal, Guess
from quintain.leakage.confidence import query_confidences
from quintain.leakage.knowledge import Knowledge
from quintain.leakage.view import AttackerView


@dataclass(frozen=True, slots=True)
class LossThreshold:
    r"""Score an example by its loss alone (Yeom et al., 2018).

    The score is :math:`\phi = \ln p_y - \ln (1 - p_y)`, which falls as the loss :math:`-\ln p_y` rises. An
    example that is hard for every model is so taken for no member: the attacks with shadow models correct
    for that.

    Source: Yeom, Giacomelli, Fredrikson, Jha, 2018, arXiv:1709.01604; with a quantile of public losses as
    threshold it is attack P of Ye et al., 2022, arXiv:2111.09679.
    """

    kind: ClassVar[str] = "leak"
    name: ClassVar[str] = "loss-threshold"
    summary: ClassVar[str] = "membership by the loss alone"
    guarantee: ClassVar[str] = (
        "a witness: members rank above others as often as measured; other attacks may find more"
    )
    goal: ClassVar[Goal] = "membership"
    access: ClassVar[str] = "scores"
    needs: ClassVar[tuple[str, ...]] = ()
    default_rank: ClassVar[int] = 2

    def guess(
        self,
        view: AttackerView,
        knowledge: Knowledge,  # noqa: ARG002
        candidates: Candidates,
        *,
        budget: int,  # noqa: ARG002
        seed: int,  # noqa: ARG002
        progress: Progress = no_progress,
    ) -> Guess:
        """Return one score for each candidate, by one query each."""
        x = candidates.examples(attack=self.name)
        model = require_model_view(view, attack=self.name)
        with progress.bar(self.name, len(x)) as advance:
            scores = query_confidences(model.scores, x, candidates.y, advance=advance)
        return Guess(scores=torch.from_numpy(scores), queries=1.0)
