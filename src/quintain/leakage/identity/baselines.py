"""Pictures of people without any optimizing, which the pictures of an attack are compared with."""

import torch
from torch import Tensor

from quintain.core.seeds import derive_seed
from quintain.data.dataset import READ_BATCH_SIZE, Dataset
from quintain.leakage.attack import Candidates
from quintain.leakage.identity.prior import BOX, PicturePrior, fit_prior
from quintain.leakage.identity.start import lead
from quintain.leakage.view import ModelView

PUBLIC, DRAW, MEAN = "the best public picture", "the best draw of a prior", "the mean picture"


def baseline_pictures(
    view: ModelView, public: Dataset, candidates: Candidates, *, budget: int, seed: int
) -> dict[str, Tensor]:
    """Return for each baseline one picture (n, *S) a candidate, of the largest score for its class.

    The best public picture and the best of ``budget`` draws of a prior are asked about once for all classes.
    Where the view gives labels alone, the best is the one that is nearest to the mean of those with the label
    of the class; the mean picture where there is none.

    Args:
        view: Metered queries of the target.
        public: Public pictures.
        candidates: The classes.
        budget: Queries for each candidate, as an attack has them.
        seed: Of the draws.
    """
    prior = fit_prior(public)
    mean = prior.render(prior.mean.new_zeros(1, prior.dimension))
    known = torch.cat(
        [batch.x for batch in public.subset(range(min(budget, len(public)))).batches(READ_BATCH_SIZE)]
    )
    generator = torch.Generator().manual_seed(derive_seed(seed, "inversion", "baseline"))
    drawn = torch.randn(budget, prior.dimension, generator=generator, dtype=torch.float64).clamp(-BOX, BOX)
    found = {MEAN: mean.expand(len(candidates), *mean.shape[1:])}
    for name, pictures in ((PUBLIC, known), (DRAW, _rendered(prior, drawn))):
        answers = torch.cat([_answers(view, part) for part in pictures.split(READ_BATCH_SIZE)])
        found[name] = torch.stack([_best(pictures, answers, y, mean[0]) for y in candidates.y.tolist()])
    return found


def _rendered(prior: PicturePrior, w: Tensor) -> Tensor:
    return torch.cat([prior.render(part) for part in w.split(READ_BATCH_SIZE)])


def _answers(view: ModelView, x: Tensor) -> Tensor:
    """Return labels (n,) or logits (n, K), as the view gives them."""
    return view.labels(x) if view.access == "labels" else view.scores(x)


def _best(pictures: Tensor, answers: Tensor, y: int, mean: Tensor) -> Tensor:
    """Return the picture (*S) that the model takes most surely for class y."""
    if answers.ndim == 2:
        return pictures[lead(answers, y).argmax()]
    labeled = pictures[answers == y]
    if not len(labeled):
        return mean
    return labeled[(labeled - labeled.mean(0)).flatten(1).square().sum(1).argmin()]
