"""Model inversion without a search: the best of as many draws of a prior, for what a search adds to it."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from quintain.core.limits import require_at_least
from quintain.core.progress import Progress, no_progress
from quintain.core.seeds import derive_seed
from quintain.data.dataset import READ_BATCH_SIZE
from quintain.leakage.attack import Candidates, Goal, Guess
from quintain.leakage.identity.prior import BOX
from quintain.leakage.identity.start import Inversion, best_picture
from quintain.leakage.knowledge import Knowledge
from quintain.leakage.view import AttackerView


@dataclass(frozen=True, slots=True)
class InversionDraws:
    """Random search: of as many draws of the prior as there are queries, the one that the model likes best.

    All draws are queried once for all classes. What other attacks find beyond it, they owe to their
    search; what it finds itself, to the prior and the model's answers.

    Args:
        components: Coordinates of the prior.

    Source: Bergstra and Bengio, 2012, JMLR 13.
    """

    kind: ClassVar[str] = "leak"
    name: ClassVar[str] = "inversion-draws"
    summary: ClassVar[str] = "the face of a class (model inversion), as the best of random draws: a reference"
    guarantee: ClassVar[str] = (
        "a witness: a person that a judge knows again has leaked; what it does not find may leak all the same"
    )
    goal: ClassVar[Goal] = "identity"
    access: ClassVar[str] = "scores"
    needs: ClassVar[tuple[str, ...]] = ("public",)
    default_rank: ClassVar[int] = 4

    components: int = 200

    def __post_init__(self) -> None:
        require_at_least(1, components=self.components)

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
        """Return one picture of each class, see ``LeakageAttack``."""
        inversion = Inversion.begin(
            view, knowledge, candidates, attack=self.name, components=self.components, budget=budget
        )
        model, prior = inversion.model, inversion.prior
        generator = torch.Generator().manual_seed(derive_seed(seed, "inversion", "draws"))
        w = torch.randn(budget, prior.dimension, generator=generator, dtype=torch.float64).clamp(-BOX, BOX)
        with progress.bar(self.name, budget) as advance:
            x = torch.cat([prior.render(part) for part in w.split(READ_BATCH_SIZE)])
            images = best_picture(model, x, candidates, prior.render(torch.zeros_like(w[:1]))[0])
            advance(budget)
        return inversion.guess(list(images))
