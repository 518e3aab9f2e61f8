"""Random search: random points of the threat, then random changes of the best one."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from quintain.attacks.base import Attack
from quintain.attacks.search import Search
from quintain.core.errors import SettingError
from quintain.core.limits import require_at_least
from quintain.models.protocol import Access
from quintain.threats.rng import ExampleRNG
from quintain.threats.threat import Threat


@dataclass(frozen=True, slots=True)
class RandomSearch(Attack):
    r"""Try random points of the threat, then smaller and smaller random changes of the best point.

    A change is kept where it raises the margin.

    .. math::
        z^{(k)} \sim \text{threat}; \qquad z' = \Pi_x\big(z + r_t\, m \odot u\big), \quad
        m \in \{0, 1\}^P,\; u \in [-1, 1]^P

    Each change moves the coordinates of a random mask :math:`m`, and :math:`r_t` falls linearly from ``eps``
    to ``eps / steps``. The attack needs no gradient and no smoothness: an example that it breaks and a
    gradient attack does not is a sign of masked gradients.

    Args:
        samples: Number of random points per example.
        steps: Number of changes per example.

    Raises:
        SettingError: If a number is no whole number of at least 0, or both are 0.

    Guarantee:
        Each success is allowed by the threat (float64, no tolerance) and was confirmed by a second forward
        pass on the stored point. A failure does not show robustness.

    Source: random points as a test, Athalye et al., 2018, arXiv:1802.00420; Engstrom et al., 2019,
        arXiv:1712.02779.
    """

    name: ClassVar[str] = "random-search"
    summary: ClassVar[str] = (
        "random changes, and then small changes of the best one: the baseline that any attack must beat"
    )
    default_rank: ClassVar[int] = 2
    use_for: ClassVar[str] = "what guessing finds: any attack must beat it"
    cost: ClassVar[str] = "{samples} + {steps} queries"
    access: ClassVar[Access] = "scores"
    min_queries: ClassVar[int] = 300
    supports: ClassVar[tuple[str, ...]] = (
        "linf",
        "l2",
        "patch",
        "light",
        "spatial",
        "color",
        "negative",
        "compose",
    )
    optimality_gap: ClassVar = {"linf": 0.4, "l2": 0.5}
    test_settings: ClassVar = {"samples": 15, "steps": 25}

    samples: int = 100
    steps: int = 200

    def __post_init__(self) -> None:
        require_at_least(0, samples=self.samples, steps=self.steps)
        if not self.samples + self.steps:
            raise SettingError("samples = 0, steps = 0; expected one of them to be at least 1")

    def run(self, search: Search) -> None:
        """Sample random points, then perturb the best one."""
        threat, rng = search.threat, search.rng
        for iteration in range(self.samples + self.steps):
            rows = search.active_rows
            if not len(rows):
                return
            clean, best, row_rng = search.x[rows], search.best[rows], rng.select(rows)
            guess = (
                self._perturb_best(iteration, best, clean, row_rng, threat)
                if iteration >= self.samples
                else threat.sample(clean, row_rng.fold_in(iteration))
            )
            new = (guess != best).flatten(1).any(1)
            if new.any():
                search.query(guess[new], rows[new])

    def _perturb_best(
        self, iteration: int, best: Tensor, clean: Tensor, rng: ExampleRNG, threat: Threat
    ) -> Tensor:
        """Return allowed points (n, ...) near the best ones."""
        flat = best.flatten(1)
        uniforms = rng.fold_in(iteration).uniform(flat.new_empty(len(flat), 2 * flat.shape[1] + 1))
        fraction, keys, noise = uniforms.split((1, flat.shape[1], flat.shape[1]), 1)
        # each coordinate moves with a probability that is itself uniform, and at least one in P
        moved = keys <= fraction.clamp(min=1 / flat.shape[1])
        radius = threat.eps * (1 - (iteration - self.samples) / self.steps)
        return threat.project((flat + radius * moved * (2 * noise - 1)).view_as(best), clean)
