"""Random search: what guessing finds, and what small changes of the best guess add."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from quintain.attacks.method import Method
from quintain.attacks.search import Search
from quintain.core.errors import SettingError
from quintain.models.protocol import Access
from quintain.threats.ball import Ball
from quintain.threats.draw import Draw


@dataclass(frozen=True, slots=True)
class RandomSearch(Method):
    r"""The worst of random points of the threat; then changes of the best one, ever smaller, kept where they raise the margin.

    .. math:: z^{(k)} \sim \text{threat}; \qquad z' = \Pi_x\big(z + r_t\, m \odot u\big), \quad m \in \{0, 1\}^P,\; u \in [-1, 1]^P

    Each mask :math:`m` keeps a random share of the coordinates where they are, and :math:`r_t` falls from ``eps`` to nearly 0.

    Args:
        samples: Random points an example.
        steps: Changes of the best one.

    Raises:
        SettingError: If a number is negative, or both are 0.

    It needs no gradient and no smoothness: what a gradient attack misses and this finds is a sign of masking.

    Guarantee:
        What it calls broken is inside the threat and was answered wrongly twice; what it does not break may still be breakable.

    Source: random points as a test, Athalye et al., 2018, arXiv:1802.00420; Engstrom et al., 2019, arXiv:1712.02779.
    """

    name: ClassVar[str] = "random-search"
    access: ClassVar[Access] = "scores"
    serves: ClassVar[tuple[str, ...]] = ("linf", "l2", "patch", "projection", "spatial", "colour", "negative", "compose")

    samples: int = 100
    steps: int = 200

    def __post_init__(self) -> None:
        if min(self.samples, self.steps) < 0 or not self.samples + self.steps:
            raise SettingError(f"samples = {self.samples}, steps = {self.steps}; expected numbers of at least 0, one of them positive")

    def pursue(self, search: Search) -> None:
        """Guess, then refine."""
        threat, draw = search.threat, search.draw
        for turn in range(self.samples + self.steps):
            rows = search.rows
            if not len(rows):
                return
            clean, best, own = search.x[rows], search.best[rows], draw.of(rows)
            guess = self._nearby(turn, best, clean, own, threat) if turn >= self.samples else threat.sample(clean, own.at(turn))
            new = (guess != best).flatten(1).any(1)
            if new.any():
                search.scores(guess[new], rows[new])

    def _nearby(self, turn: int, best: Tensor, clean: Tensor, draw: Draw, threat: Ball) -> Tensor:
        """Allowed points (n, ...) near the best ones."""
        flat = best.flatten(1)
        luck = draw.at(turn).uniform(flat.new_empty(len(flat), 2 * flat.shape[1] + 1))
        share, keys, noise = luck.split((1, flat.shape[1], flat.shape[1]), 1)
        moved = keys <= share.clamp(min=1 / flat.shape[1])
        reach = threat.eps * (1 - (turn - self.samples) / self.steps)
        return threat.project((flat + reach * moved * (2 * noise - 1)).view_as(best), clean)
