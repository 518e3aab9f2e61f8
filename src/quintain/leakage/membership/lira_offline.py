"""The likelihood-ratio attack with shadow models that were trained without the candidate alone."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from quintain.core.progress import Progress, no_progress
from quintain.leakage.attack import Candidates, Goal, Guess
from quintain.leakage.knowledge import Knowledge
from quintain.leakage.membership._shadow_fits import ShadowFit
from quintain.leakage.membership._shadow_scores import mean_shadow_scores
from quintain.leakage.view import AttackerView


@dataclass(frozen=True, slots=True)
class OfflineLiRA:
    r"""Score an example by how far its confidence lies above that of models that never saw it.

    .. math:: \Lambda(x, y) = \frac{\phi - \mu_\mathrm{out}}{s_\mathrm{out}}

    It orders examples as the one-sided p-value :math:`1 - \Phi(\Lambda)` of the paper does, and does not
    saturate. (The density that the paper's code takes is two-sided: it takes an unusually low confidence for
    membership, too.) No model need be trained with the candidate, so that shadow models that an attacker
    trained before serve for all candidates.

    Args:
        copies: As of ``LiRA``.

    Source: Carlini, Chien, Nasr, Song, Terzis, Tramer, 2022, arXiv:2112.03570 (the offline attack).
    """

    kind: ClassVar[str] = "leak"
    name: ClassVar[str] = "lira-offline"
    summary: ClassVar[str] = "membership by how unusual the confidence is among shadow models without it"
    guarantee: ClassVar[str] = (
        "a witness: members rank above others as often as measured; other attacks may find more"
    )
    goal: ClassVar[Goal] = "membership"
    access: ClassVar[str] = "scores"
    needs: ClassVar[tuple[str, ...]] = ("shadows",)
    default_rank: ClassVar[int] = 0

    copies: int = 1

    def guess(
        self,
        view: AttackerView,
        knowledge: Knowledge,
        candidates: Candidates,
        *,
        budget: int,
        seed: int,  # noqa: ARG002
        progress: Progress = no_progress,
    ) -> Guess:
        """Return one score for each candidate; larger means more likely a member."""
        return mean_shadow_scores(
            view,
            knowledge,
            candidates,
            _deviations_above_untrained,
            copies=self.copies,
            budget=budget,
            attack=self.name,
            progress=progress,
        )


def _deviations_above_untrained(
    fit: ShadowFit, confidences: NDArray[np.float64], columns: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return how many deviations confidences (n,) lie above the mean of the models without the candidates."""
    return fit.untrained.standardized(confidences, columns)
