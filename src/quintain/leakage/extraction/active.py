"""Active extraction: the copy itself decides which public examples are queried next."""

from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import numpy as np
import torch

from quintain.core.limits import require_at_least
from quintain.core.progress import Progress, no_progress
from quintain.core.seeds import derive_seed
from quintain.data.dataset import READ_BATCH_SIZE, Dataset
from quintain.leakage.answers import query_public, require_model_view
from quintain.leakage.attack import Candidates, Goal, Guess
from quintain.leakage.extraction.student import Student
from quintain.leakage.knowledge import Knowledge, require_public
from quintain.leakage.view import AttackerView
from quintain.models.classifier import Classifier


@dataclass(frozen=True, slots=True)
class ActiveExtraction:
    r"""Query in rounds: first random public examples, then those that the copy is least sure of.

    The b queries of a round are chosen among the ``4 b`` examples whose two most likely classes are nearest
    to each other under the copy so far, and are spread over them: each next one is the example whose
    probabilities are farthest from all that were queried (greedy k-center).

    Args:
        rounds: Number of copies that are trained, the last one included; each round has as many queries.
        student: How a copy is trained.

    Source: Pal, Gupta, Shukla, Kanade, Shevade, Ganapathy, 2019, arXiv:1905.09165 (uncertainty, k-center);
    Sener, Savarese, 2018, arXiv:1708.00489 (k-center).
    """

    kind: ClassVar[str] = "leak"
    name: ClassVar[str] = "active-extraction"
    summary: ClassVar[str] = "a copy of the model, which chooses in rounds what to query next"
    guarantee: ClassVar[str] = "a witness: the copy agrees with the model on as many held-out examples"
    goal: ClassVar[Goal] = "agreement"
    access: ClassVar[str] = "scores"
    needs: ClassVar[tuple[str, ...]] = ("public",)
    default_rank: ClassVar[int] = 2

    rounds: int = 4
    student: Student = field(default_factory=Student)

    def __post_init__(self) -> None:
        require_at_least(1, rounds=self.rounds)

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
        total = min(budget, len(public))
        order = np.random.default_rng(derive_seed(seed, "public order")).permutation(len(public))
        goals = [round(total * (done + 1) / self.rounds) for done in range(self.rounds)]
        train = partial(self.student.train, device=model.device, seed=seed, progress=progress)
        ids: list[int] = order[: max(1, goals[0])].tolist()
        answers = query_public(model, public, ids)
        copy = train(public, ids, answers, knowledge)
        for goal in goals[1:]:
            if goal <= len(ids):
                continue
            chosen = choose_queries(copy, public, ids, goal - len(ids), order=order)
            answers = torch.cat([answers, query_public(model, public, chosen)])
            ids += chosen
            copy = train(public, ids, answers, knowledge)
        return Guess(model=copy, queries=float(len(ids)))


def choose_queries(
    copy: Classifier, public: Dataset, queried: list[int], count: int, *, order: np.ndarray
) -> list[int]:
    """Return ``count`` public examples that were not queried yet: uncertain ones, spread out.

    Args:
        copy: The copy so far.
        public: Public examples.
        queried: Rows of the public examples that were queried already.
        count: Number of examples to choose.
        order: All rows, in the order by which ties are broken.
    """
    with torch.no_grad():
        batches = [
            copy(batch.x.to(copy.device, copy.dtype)).cpu() for batch in public.batches(READ_BATCH_SIZE)
        ]
    probabilities = torch.cat(batches).double().softmax(1)
    top = probabilities.topk(2, dim=1).values
    left = torch.from_numpy(order[~np.isin(order, queried)])
    # The least sure of those left, 4 for each query.
    lead = (top[:, 0] - top[:, 1])[left]
    pool = left[lead.argsort(stable=True)[: 4 * count]]
    # Greedy k-center: each next one is farthest from those queried and chosen so far.
    distance = torch.cdist(probabilities[pool], probabilities[queried]).amin(1)
    chosen: list[int] = []
    for _ in range(min(count, len(pool))):
        best = int(distance.argmax())
        chosen.append(int(pool[best]))
        to_best = (probabilities[pool] - probabilities[pool[best]]).norm(dim=1)
        distance = torch.minimum(distance, to_best)
        distance[best] = -torch.inf
    return chosen
