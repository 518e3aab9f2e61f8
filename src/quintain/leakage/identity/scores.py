"""Model inversion by scores alone: an evolution strategy in the coordinates of a prior."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quintain.core.errors import SettingError
from quintain.core.limits import require_at_least
from quintain.core.progress import Progress, no_progress
from quintain.core.seeds import derive_seed
from quintain.leakage.attack import Candidates, Goal, Guess
from quintain.leakage.identity.prior import BOX, PicturePrior
from quintain.leakage.identity.start import Inversion, lead, spread
from quintain.leakage.knowledge import Knowledge
from quintain.leakage.view import AttackerView, ModelView

NO_LEAD = -1e9
"""The fitness of a picture whose scores are no numbers."""


@dataclass(frozen=True, slots=True)
class InversionScores:
    r"""Model inversion by separable CMA-ES, in the coordinates of a prior.

    .. math:: \max_w\; z_y(x) - \max_{j \ne y} z_j(x) - \frac{\lambda}{d} \|w\|^2, \qquad x = \mu + w B

    from the mean picture. The guess is the mean of the last distribution, w cut to the box: less of an
    accident than its best sample. Any scores serve that equal logits up to a constant of each picture, such
    as logarithms of probabilities.

    Args:
        components: Coordinates of the prior.
        penalty: :math:`\lambda`, in units of the lead's spread over public pictures.
        pool: Public pictures that are queried first, once for all classes, for that spread.
        population: Samples of a generation.
        sigma: Standard deviation of the first one, in units of the prior.

    The covariance matrix is diagonal, which is learned faster than a full one; the search is that of the
    package ``cma``.

    Source: Ros and Hansen, 2008, PPSN X.
    """

    kind: ClassVar[str] = "leak"
    name: ClassVar[str] = "inversion-scores"
    summary: ClassVar[str] = "the face of a class (model inversion), by scores: CMA-ES among likely pictures"
    guarantee: ClassVar[str] = (
        "a witness: a person that a judge knows again has leaked; what it does not find may leak all the same"
    )
    goal: ClassVar[Goal] = "identity"
    access: ClassVar[str] = "scores"
    needs: ClassVar[tuple[str, ...]] = ("public",)
    default_rank: ClassVar[int] = 2

    components: int = 200
    penalty: float = 0.3
    pool: int = 100
    population: int = 20
    sigma: float = 0.5

    def __post_init__(self) -> None:
        require_at_least(1, components=self.components, pool=self.pool)
        require_at_least(4, population=self.population)
        if not (self.penalty >= 0 and self.sigma > 0):
            raise SettingError(
                f"penalty = {self.penalty}, sigma = {self.sigma}; expected a weight of at least 0 and a "
                "positive number"
            )

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
        logits = inversion.public_scores(self.pool, seed=seed)
        steps, images = (budget - len(logits)) // self.population, []
        with progress.bar(self.name, len(candidates) * steps) as advance:
            # Each candidate on its own, so that a split of them changes no matrix product.
            for y, one in zip(candidates.y.tolist(), candidates.ids.tolist(), strict=True):
                search = _Search(self, model, prior, y, spread(lead(logits, y)))
                w = search.ascend(steps, derive_seed(seed, "inversion", "scores", one), advance)
                images.append(prior.render(torch.from_numpy(w)[None])[0])
        return inversion.guess(images)


@dataclass(frozen=True, slots=True)
class _Search:
    """What is maximized for one class; ``scale`` is the spread of its lead over public pictures."""

    settings: InversionScores
    model: ModelView
    prior: PicturePrior
    y: int
    scale: float

    def ascend(self, generations: int, seed: int, advance: Callable[[int], None]) -> NDArray[np.float64]:
        """Return the mean (d,) of the last distribution, cut to the box."""
        strategy = _strategy(self.prior.dimension, self.settings, np.random.default_rng(seed))
        for _ in range(generations):
            samples = np.stack(strategy.ask())
            # The strategy minimizes; it sees samples as it drew them, so that the penalty draws it inside.
            strategy.tell(list(samples), (-self.fitness(samples)).tolist())
            advance(1)
        return np.asarray(strategy.mean, dtype=np.float64).clip(-BOX, BOX)

    def fitness(self, w: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what is maximized (n,) at coordinates (n, d)."""
        x = self.prior.render(torch.from_numpy(w.clip(-BOX, BOX)))
        leads: Tensor = lead(self.model.scores(x), self.y) / self.scale
        values = torch.nan_to_num(leads, nan=NO_LEAD, posinf=-NO_LEAD, neginf=NO_LEAD).cpu().numpy()
        return np.asarray(values - self.settings.penalty * np.square(w).mean(1), dtype=np.float64)


def _strategy(dimension: int, settings: InversionScores, rng: np.random.Generator) -> Any:
    """Return a strategy that draws from ``rng`` alone, and prints, writes and stops by itself never."""
    with warnings.catch_warnings():
        # It says at import that it will not plot where matplotlib is missing.
        warnings.simplefilter("ignore")
        import cma
    return cma.CMAEvolutionStrategy(
        np.zeros(dimension),
        settings.sigma,
        {
            "CMA_diagonal": True,
            "popsize": settings.population,
            "randn": lambda *shape: rng.standard_normal(shape),
            "seed": np.nan,
            "verbose": -9,
        },
    )
