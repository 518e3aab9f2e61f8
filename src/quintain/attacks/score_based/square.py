"""Square Attack: random search over square windows at the ends of the allowed range."""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from quintain.attacks.base import Attack
from quintain.attacks.patience import check_patience
from quintain.attacks.score_based._square_l2 import initial_tiles, propose_l2
from quintain.attacks.score_based.random_search_loop import random_search_loop
from quintain.attacks.score_based.windows import (
    image_dims,
    random_extremes,
    square_schedule,
    stripes,
    window_pixels,
    window_shape,
)
from quintain.attacks.search import Search
from quintain.core.errors import SettingError
from quintain.core.limits import require_at_least
from quintain.models.protocol import Access
from quintain.threats.l2 import L2
from quintain.threats.rng import ExampleRNG

HALVINGS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
"""After which fractions of the queries the window's fraction of the image is halved."""


@dataclass(frozen=True, slots=True)
class Square(Attack):
    r"""Random search on the margin over changes made of squares.

    .. math::
        z \leftarrow z' \text{ where } m(f(z')) > m(f(z)), \quad
        z'_{c,i,j} = clip(x_{c,i,j} + \sigma_c \varepsilon)
        \text{ for } (i, j) \text{ in a random window}, z \text{ elsewhere}

    in the ball of the largest change, from vertical stripes; signs that would change nothing are turned
    round, so that no query is wasted. In the ball of Euclidean length the window gets a two-lobed bump,
    and the length that another window had.

    The window covers a fraction ``p_init`` of the image, halved after 0.1, 0.5, 2, 5, 10, 20, 40, 60 and 80 %
    of the queries: the published schedule is for 10,000 queries, and is stretched to those that there are, so
    that a short run ends with small windows too.

    Args:
        queries: Queries of each example and start; an example stops at its first
            success.
        p_init: Fraction of the image that the first windows cover.
        restarts: How many starts.
        patience: An example is dropped if its margin would stay below 0 even if it improved ``patience``
            times as fast as on average so far; never if not given, as published. Random search slows down
            much more than ascent does.

    Raises:
        SettingError: If a count or ``patience`` is not positive or ``p_init`` is not in (0, 1].

    Guarantee:
        Each success is allowed by the threat (float64, no tolerance) and was confirmed by a second forward
        pass on the stored point. A failure does not show robustness.

    Source: Andriushchenko et al., 2020, arXiv:1912.00049.
    """

    name: ClassVar[str] = "square"
    summary: ClassVar[str] = (
        "random search with shrinking squares at the ends of the range: the strongest without gradients"
    )
    default_rank: ClassVar[int] = 1
    use_for: ClassVar[str] = "the first choice without gradients; also the check on those with"
    cost: ClassVar[str] = "{queries}, {restarts} times"
    access: ClassVar[Access] = "scores"
    min_queries: ClassVar[int] = 500
    supports: ClassVar[tuple[str, ...]] = ("linf", "l2")
    optimality_gap: ClassVar = {"l2": 0.3}
    test_settings: ClassVar = {"queries": 80}
    gap_test_settings: ClassVar = {"queries": 1000}

    queries: int = 5000
    p_init: float = 0.8
    restarts: int = 1
    patience: float = math.inf

    def __post_init__(self) -> None:
        require_at_least(1, queries=self.queries, restarts=self.restarts)
        check_patience(self.patience)
        if not 0 < self.p_init <= 1:
            raise SettingError(
                f"p_init = {self.p_init}; expected a fraction of the image in (0, 1], such as 0.8"
            )

    def run(self, search: Search) -> None:
        """Run random search from each start."""
        if not search.threat.eps:
            return
        search_once = self._in_l2 if isinstance(search.threat, L2) else self._in_linf
        for restart in range(self.restarts):
            search_once(search, search.rng.fold_in(restart))

    def _in_linf(self, search: Search, rng: ExampleRNG) -> None:
        rows = search.active_rows
        low, high = search.threat.projection_cache(search.x[rows])

        def propose(
            _: int, progress: float, state: tuple[Tensor], constants: tuple[Tensor, Tensor], uniforms: Tensor
        ) -> tuple[Tensor]:
            return (
                propose_linf(square_schedule(self.p_init, progress, HALVINGS), *state, *constants, uniforms),
            )

        random_search_loop(
            search,
            rows=rows,
            state=(stripes(low, high, rng.fold_in("start").select(rows)),),
            constants=(low, high),
            propose=propose,
            uniforms_per_step=2 + image_dims(search.x.shape[1:])[0],
            rng=rng,
            queries=self.queries,
            loss=search.goal.margin,
            patience=self.patience,
        )

    def _in_l2(self, search: Search, rng: ExampleRNG) -> None:
        rows, threat = search.active_rows, search.threat
        clean = search.x[rows]

        def propose(
            _: int, progress: float, state: tuple[Tensor], constants: tuple[Tensor], uniforms: Tensor
        ) -> tuple[Tensor]:
            return (
                propose_l2(
                    threat, square_schedule(self.p_init, progress, HALVINGS), *state, *constants, uniforms
                ),
            )

        random_search_loop(
            search,
            rows=rows,
            state=(initial_tiles(threat, clean, rng.fold_in("start").select(rows)),),
            constants=(clean,),
            propose=propose,
            uniforms_per_step=5 + image_dims(search.x.shape[1:])[0],
            rng=rng,
            queries=self.queries,
            loss=search.goal.margin,
            patience=self.patience,
        )


def propose_linf(area_fraction: float, z: Tensor, low: Tensor, high: Tensor, uniforms: Tensor) -> Tensor:
    """Return the next point (n, *S): a window at a random place.

    Each channel of it is at one end of its range, other than it was.

    Args:
        area_fraction: Of the image that the window covers.
        z, low, high: Current points and the ends of their range (n, *S).
        uniforms: Uniform in [0, 1] (n, 2 + C).
    """
    channels, height, width = image_dims(z.shape[1:])
    window = window_pixels(uniforms[:, :2], *window_shape(area_fraction, height, width), height, width)[
        :, None
    ].expand(-1, channels, -1)
    # each channel of the window goes to x - eps or x + eps (clipped), with a random sign per channel
    old, least, most = (part.view(len(z), channels, -1).gather(2, window) for part in (z, low, high))
    new = random_extremes(old, uniforms[:, 2:, None] < 0.5, least, most, (1, 2))
    return z.view(len(z), channels, -1).scatter(2, window, new).view(z.shape)
