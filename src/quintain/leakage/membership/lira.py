"""The likelihood-ratio attack with shadow models that were trained with each candidate and without it."""

from dataclasses import dataclass
from typing import ClassVar

from quintain.core.progress import Progress, no_progress
from quintain.leakage.attack import Candidates, Goal, Guess
from quintain.leakage.knowledge import Knowledge
from quintain.leakage.membership._shadow_fits import ShadowFit
from quintain.leakage.membership._shadow_scores import mean_shadow_scores
from quintain.leakage.view import AttackerView


@dataclass(frozen=True, slots=True)
class LiRA:
    r"""Score an example by how much likelier its confidence is if it was trained on (Carlini et al., 2022).

    .. math:: \Lambda(x, y) = \ln \frac{N(\phi;\, \mu_\mathrm{in}, s_\mathrm{in}^2)}
                                       {N(\phi;\, \mu_\mathrm{out}, s_\mathrm{out}^2)},
              \quad \phi = \ln p_y - \ln (1 - p_y)

    Means are of the shadow models that were trained with this example and of those that were not. Under 64
    models variances are pooled over examples of like confidence, and the shift from one mean to the other is
    drawn toward that of such examples as far as its error explains it: few models know it badly. Log
    likelihood ratios of several copies are averaged.

    Args:
        copies: Copies of each example that are queried: itself, then its mirror image, then both shifted
            by a pixel; more than one helps if the target was trained on such copies.

    Source: Carlini, Chien, Nasr, Song, Terzis, Tramer, 2022, arXiv:2112.03570 (the online attack).
    """

    kind: ClassVar[str] = "leak"
    name: ClassVar[str] = "lira"
    summary: ClassVar[str] = "membership by the likelihood ratio over shadow models with and without it"
    guarantee: ClassVar[str] = (
        "a witness: members rank above others as often as measured; other attacks may find more"
    )
    goal: ClassVar[Goal] = "membership"
    access: ClassVar[str] = "scores"
    needs: ClassVar[tuple[str, ...]] = ("shadows",)
    default_rank: ClassVar[int] = 1

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
            ShadowFit.log_ratio,
            copies=self.copies,
            budget=budget,
            attack=self.name,
            progress=progress,
        )
