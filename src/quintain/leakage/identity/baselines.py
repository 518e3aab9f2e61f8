"""Pictures that hold nothing of the private people, which the pictures of an attack are compared with."""

import torch
from torch import Tensor

from quintain.core.seeds import derive_seed
from quintain.data.dataset import Dataset
from quintain.leakage.attack import Candidates
from quintain.leakage.identity.prior import BOX, fit_prior
from quintain.leakage.identity.start import best_picture, public_sample
from quintain.leakage.view import ModelView

PUBLIC, DRAW, MEAN = "the best public picture", "a draw of the prior", "the mean picture"


def baseline_pictures(
    view: ModelView, public: Dataset, candidates: Candidates, *, budget: int, seed: int
) -> dict[str, Tensor]:
    """Return for each baseline one picture (n, *S) a candidate.

    They are the public picture that the target takes most surely for the class, of as many as an attack has
    queries; a draw of the prior of the attacks; and the mean picture, the same for all. Only the first takes
    queries of the target, and none of them was made by it.

    Args:
        view: Metered queries of the target; by labels alone, see ``best_picture``.
        public: Public pictures.
        candidates: The classes.
        budget: Queries for each candidate, as an attack has them.
        seed: Of the draws.
    """
    prior = fit_prior(public)
    mean = prior.render(prior.mean.new_zeros(1, prior.dimension))
    known = public_sample(public, budget, seed=seed)
    drawn = []
    for one in candidates.ids.tolist():
        generator = torch.Generator().manual_seed(derive_seed(seed, "inversion", "baseline", one))
        drawn.append(torch.randn(prior.dimension, generator=generator, dtype=torch.float64).clamp(-BOX, BOX))
    return {
        PUBLIC: best_picture(view, known, candidates, mean[0]),
        DRAW: prior.render(torch.stack(drawn)),
        MEAN: mean.expand(len(candidates), *mean.shape[1:]),
    }
