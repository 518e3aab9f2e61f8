"""What the attacks on identity have in common: how they begin and end, public pictures, and the lead."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from quintain.core.errors import SettingError
from quintain.core.limits import require_at_least
from quintain.core.seeds import derive_seed
from quintain.data.dataset import READ_BATCH_SIZE, Dataset
from quintain.leakage.attack import Candidates, Guess
from quintain.leakage.identity.prior import PicturePrior, fit_prior
from quintain.leakage.knowledge import Knowledge, require_public
from quintain.leakage.view import AttackerView, ModelView


@dataclass(frozen=True, slots=True, eq=False)
class Inversion:
    """What an attack on identity has at hand.

    Args:
        model: The view of the model, whose classes the candidates are.
        public: Public pictures.
        prior: What pictures such as these look like.
        budget: Queries for each candidate.
        count: Number of candidates.
        queries_before: Queries of the view before the attack.
    """

    model: ModelView
    public: Dataset
    prior: PicturePrior
    budget: int
    count: int
    queries_before: int

    @classmethod
    def begin(
        cls,
        view: AttackerView,
        knowledge: Knowledge,
        candidates: Candidates,
        *,
        attack: str,
        components: int,
        budget: int,
    ) -> "Inversion":
        """Check what an attack is given, and fit the prior.

        Raises:
            SettingError: If there is no budget, no view of a model or no public data, or candidates are none
                of its classes.
            DataError: If there are fewer than two different public pictures.
        """
        require_at_least(1, budget=budget)
        public = require_public(knowledge, attack=attack)
        model = require_class_view(view, candidates, attack=attack)
        prior = fit_prior(public, components=components)
        return cls(
            model,
            public,
            prior,
            budget=budget,
            count=len(candidates),
            queries_before=model.queries,
        )

    def public_scores(self, pool: int, *, seed: int) -> Tensor:
        """Return the logits (n, K) of some public pictures: up to ``pool``, and half of the budget."""
        count = max(1, min(pool, self.budget // 2))
        return self.model.scores(public_sample(self.public, count, seed=seed))

    def guess(self, images: Sequence[Tensor]) -> Guess:
        """Return the guess of some pictures (*S), one a candidate, with the queries of each on average."""
        return Guess(
            images=torch.stack(list(images)) if images else self.prior.mean.new_empty(0),
            queries=(self.model.queries - self.queries_before) / max(1, self.count),
        )


def require_class_view(view: AttackerView, candidates: Candidates, *, attack: str) -> ModelView:
    """Return a view as that of a model whose classes include the candidates.

    Raises:
        SettingError: If it is no view of a model, or lacks a candidate's class.
    """
    if not isinstance(view, ModelView):
        raise SettingError(f"{attack} asks a model; got a view of {view.access}, expected a ModelView")
    if len(candidates) and not 0 <= int(candidates.y.min()) <= int(candidates.y.max()) < view.num_classes:
        raise SettingError(
            f"{attack} seeks classes {candidates.y.tolist()}; expected some of 0 .. {view.num_classes - 1}"
        )
    return view


def public_sample(public: Dataset, count: int, *, seed: int) -> Tensor:
    """Return public pictures (n, *S), all or ``count`` of them.

    They follow from the seed alone, so that one query of a picture serves all classes, and a split of the
    candidates changes nothing.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, "inversion", "public"))
    return public.batch(torch.randperm(len(public), generator=generator)[:count])[0]


def lead(logits: Tensor, y: int) -> Tensor:
    """Return by how much the logit of a class leads the best other one (n,), float64; differentiable."""
    others = torch.cat([logits[:, :y], logits[:, y + 1 :]], dim=1)
    return (logits[:, y] - others.amax(1)).double()


def spread(leads: Tensor) -> float:
    """Return the standard deviation of leads, in which they are measured; 1 where there is none."""
    value = float(leads.std()) if len(leads) > 1 else 0.0
    return value if value > 0 else 1.0


def best_picture(view: ModelView, pictures: Tensor, candidates: Candidates, otherwise: Tensor) -> Tensor:
    """Return the picture (n, *S), of some (m, *S), that a model takes most surely for each class.

    All are queried once for all classes. By labels alone it is the one that is nearest to the mean of
    those with the label; ``otherwise`` (*S) where there is none.
    """
    query = view.labels if view.access == "labels" else view.scores
    answers = torch.cat([query(part) for part in pictures.split(READ_BATCH_SIZE)])
    best = []
    for y in candidates.y.tolist():
        if answers.ndim == 2:
            best.append(pictures[lead(answers, y).argmax()])
            continue
        own = pictures[answers == y]
        distances = (own - own.mean(0)).flatten(1).square().sum(1)
        best.append(own[distances.argmin()] if len(own) else otherwise)
    return torch.stack(best) if best else pictures[:0]
