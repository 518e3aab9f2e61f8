"""Square Attack: random windows of the image go to the edge of the ball, and stay where that helps."""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from quintain.attacks.hope import check_hope
from quintain.attacks.method import Method
from quintain.attacks.scores.square_l2 import reshaped, tiles
from quintain.attacks.scores.walk import walk
from quintain.attacks.scores.window import cells, extent, halved, other_end, planes, stripes
from quintain.attacks.search import Search
from quintain.core.errors import SettingError
from quintain.core.limits import at_least
from quintain.models.protocol import Access
from quintain.threats.draw import Draw
from quintain.threats.l2 import L2

HALVINGS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
"""After which shares of the questions the window's share of the image is halved."""


@dataclass(frozen=True, slots=True)
class Square(Method):
    r"""Random search on the margin over changes made of squares.

    .. math:: z \leftarrow z' \text{ where } m(f(z')) > m(f(z)), \quad
        z'_{c,i,j} = clip(x_{c,i,j} + \sigma_c \varepsilon) \text{ for } (i, j) \text{ in a random window}, z \text{ elsewhere}

    in the ball of the largest change, from vertical stripes; signs that would change nothing are turned round, so that no question
    is wasted. In the ball of Euclidean length the window gets a two-lobed bump, and the length that another window had.

    The window covers a share ``p`` of the image, halved after 0.1, 0.5, 2, 5, 10, 20, 40, 60 and 80 % of the questions: the
    published schedule is for 10,000 questions, and is stretched to those that there are, so that a short run ends with small
    windows too.

    Args:
        questions: How often the model is asked about an example, each start; a broken example stops paying.
        p: Share of the image that the first windows cover.
        restarts: How many starts.
        hope: When an example is given up: where its margin would stay below 0 even if it rose ``hope`` times as fast as on average
            so far; never if not given, as published. A random search slows down much more than ascent does.

    Raises:
        SettingError: If a count or ``hope`` is not positive or ``p`` is not in (0, 1].

    Guarantee:
        What it calls broken is inside the threat and was answered wrongly twice; what it does not break may still be breakable.

    Source: Andriushchenko et al., 2020, arXiv:1912.00049.
    """

    name: ClassVar[str] = "square"
    access: ClassVar[Access] = "scores"
    serves: ClassVar[tuple[str, ...]] = ("linf", "l2")

    questions: int = 5000
    p: float = 0.8
    restarts: int = 1
    hope: float = math.inf

    def __post_init__(self) -> None:
        at_least(1, questions=self.questions, restarts=self.restarts)
        check_hope(self.hope)
        if not 0 < self.p <= 1:
            raise SettingError(f"p = {self.p}; expected a share of the image in (0, 1], such as 0.8")

    def pursue(self, search: Search) -> None:
        """Search from each start."""
        if not search.threat.eps:
            return
        search_once = self._in_l2 if isinstance(search.threat, L2) else self._in_linf
        for restart in range(self.restarts):
            search_once(search, search.draw.at(restart))

    def _in_linf(self, search: Search, draw: Draw) -> None:
        rows = search.rows
        low, high = search.threat.room(search.x[rows])

        def propose(_: int, progress: float, state: tuple[Tensor], fixed: tuple[Tensor, Tensor], numbers: Tensor) -> tuple[Tensor]:
            return (flipped(halved(self.p, progress, HALVINGS), *state, *fixed, numbers),)

        walk(
            search,
            rows=rows,
            state=(stripes(low, high, draw.at("start").of(rows)),),
            fixed=(low, high),
            propose=propose,
            numbers=2 + planes(search.x.shape[1:])[0],
            draw=draw,
            questions=self.questions,
            loss=search.goal.margin,
            hope=self.hope,
        )

    def _in_l2(self, search: Search, draw: Draw) -> None:
        rows, threat = search.rows, search.threat
        clean = search.x[rows]

        def propose(_: int, progress: float, state: tuple[Tensor], fixed: tuple[Tensor], numbers: Tensor) -> tuple[Tensor]:
            return (reshaped(threat, halved(self.p, progress, HALVINGS), *state, *fixed, numbers),)

        walk(
            search,
            rows=rows,
            state=(tiles(threat, clean, draw.at("start").of(rows)),),
            fixed=(clean,),
            propose=propose,
            numbers=5 + planes(search.x.shape[1:])[0],
            draw=draw,
            questions=self.questions,
            loss=search.goal.margin,
            hope=self.hope,
        )


def flipped(share: float, z: Tensor, low: Tensor, high: Tensor, numbers: Tensor) -> Tensor:
    """The next point (n, *S): a window at a random place, each channel of it at one end of its range, other than it was.

    Args:
        share: Of the image that the window covers.
        z, low, high: Current points and the ends of their range (n, *S).
        numbers: Uniform in [0, 1] (n, 2 + C).
    """
    channels, height, width = planes(z.shape[1:])
    window = cells(numbers[:, :2], *extent(share, height, width), height, width)[:, None].expand(-1, channels, -1)
    old, least, most = (part.view(len(z), channels, -1).gather(2, window) for part in (z, low, high))
    new = other_end(old, numbers[:, 2:, None] < 0.5, least, most, (1, 2))
    return z.view(len(z), channels, -1).scatter(2, window, new).view(z.shape)
