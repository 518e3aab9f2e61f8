"""Membership from predicted labels alone: a training example keeps its label under changes."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from quintain.core.errors import SettingError
from quintain.core.progress import Progress, no_progress
from quintain.leakage.answers import require_model_view
from quintain.leakage.attack import Candidates, Goal, Guess
from quintain.leakage.confidence import BATCH, count_copies, make_copy
from quintain.leakage.knowledge import Knowledge
from quintain.leakage.view import AttackerView
from quintain.threats.rng import ExampleRNG


@dataclass(frozen=True, slots=True)
class LabelOnly:
    r"""Score an example by how often the model is right about changed copies of it.

    The first ones are those of ``LiRA``; all others have normal noise whose size rises evenly from 0 to
    ``noise``, so that the fraction that is right grows with the distance to the decision boundary. It is to
    be compared with "predicted right" (Yeom et al., 2018), which takes one query: the model's accuracy on
    members and on others already differs.

    Args:
        queries: Copies of each example, at most.
        copies: How many of them have no noise: the example itself, then its mirror image, then both shifted
            by a pixel; more than one helps if the target was trained on such copies.
        noise: Largest standard deviation of the noise, in units of the data, which are in [0, 1].

    Source: Choquette-Choo, Tramer, Carlini, Papernot, 2021, arXiv:2007.14321; Li, Zhang, 2021,
    arXiv:2007.15528.
    """

    kind: ClassVar[str] = "leak"
    name: ClassVar[str] = "label-only"
    summary: ClassVar[str] = "membership by how often changed copies keep their label"
    guarantee: ClassVar[str] = (
        "a witness: members rank above others as often as measured; other attacks may find more"
    )
    goal: ClassVar[Goal] = "membership"
    access: ClassVar[str] = "labels"
    needs: ClassVar[tuple[str, ...]] = ()
    default_rank: ClassVar[int] = 3

    queries: int = 50
    copies: int = 1
    noise: float = 0.5

    def __post_init__(self) -> None:
        if self.queries < 1 or not self.noise > 0:
            raise SettingError(
                f"queries = {self.queries}, noise = {self.noise}; expected at least one query, and positive "
                "noise"
            )

    def guess(
        self,
        view: AttackerView,
        knowledge: Knowledge,  # noqa: ARG002
        candidates: Candidates,
        *,
        budget: int,
        seed: int,
        progress: Progress = no_progress,
    ) -> Guess:
        """Return one score for each candidate, the fraction of its copies that are predicted right."""
        x, model = candidates.examples(attack=self.name), require_model_view(view, attack=self.name)
        count = min(self.queries, budget)
        plain = min(count, count_copies(self.copies, tuple(candidates.shape), budget, attack=self.name))
        rng = ExampleRNG(seed, candidates.ids).fold_in("label-only")
        right = torch.zeros(len(x), dtype=torch.float64)
        with progress.bar(self.name, count * len(x)) as advance:
            for start in range(0, len(x), BATCH):
                rows = torch.arange(start, min(start + BATCH, len(x)))
                for number in range(count):
                    size = self.noise * max(0, number - plain + 1) / max(1, count - plain)
                    copies = make_copy(x[rows], number if number < plain else 0)
                    if size:
                        copies = copies + size * rng.select(rows).fold_in(number).normal(copies)
                    copies = copies.clamp(0, 1)
                    right[rows] += (model.labels(copies).cpu() == candidates.y[rows]).double()
                    advance(len(rows))
        return Guess(scores=right / count, queries=float(count))
