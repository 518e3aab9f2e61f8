"""What attacks that see labels alone share: a start, the boundary on a path, and the boundary's normal by votes."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from quintain.attacks.search import Search
from quintain.core.errors import SettingError
from quintain.threats.columns import column
from quintain.threats.draw import Draw
from quintain.threats.rounding import box_inside

Path = Callable[[Tensor, Tensor], Tensor]
"""Points (m, *S) at shares (m,) of the way, for places (m,) among the rows that the path was made for; 0 is broken, 1 is not."""

Noise = Callable[[Draw, Tensor], Tensor]
"""Random numbers of the shape of a tensor (n, k, *S), from the streams of its n examples."""

START = 16  # noises drawn at a time
PROBES = 2**20  # numbers of one example's probes in memory at a time
BATCH = 2**24  # numbers of all probes in one question


def check_questions(questions: int) -> None:
    """Refuse a budget that pays nothing.

    Raises:
        SettingError: If it is below 2.
    """
    if questions < 2:
        raise SettingError(f"questions = {questions}; expected at least 2, one for the unchanged input and one more")


def straight(z: Tensor, x: Tensor) -> Path:
    """The segments from ``z`` to ``x``."""
    return lambda shares, places: torch.lerp(z[places], x[places], column(shares.to(x.dtype), x))


@dataclass(frozen=True, slots=True, eq=False)
class Boundary:
    """Labels asked of a search, within a budget: only whether the goal is reached is ever used.

    Args:
        search: Asks, judges and keeps.
        questions: How often an example may be asked about, the unchanged input and the final check included.
        early: Whether an example is done once a change within the threat is found.
    """

    search: Search
    questions: int
    early: bool = False

    @property
    def box(self) -> tuple[float, float]:
        """The least and the greatest value of a point."""
        return box_inside(self.search.threat.low, self.search.threat.high, self.search.x.dtype)

    def left(self, rows: Tensor) -> Tensor:
        """How many questions each of ``rows`` may still ask beside the final check (n,); none where it is done."""
        search = self.search
        own = (self.questions - search.meter.forwards[rows]) // search.meter.price
        going = search.standing(rows)
        if self.early:
            going = going & (search.size[rows] > search.threat.eps)
        return torch.where(going, torch.minimum(own, search.meter.left(rows)) - 1, 0).clamp(min=0)

    def breaks(self, z: Tensor, rows: Tensor) -> Tensor:
        """Whether each point (n, *S) reaches the goal (n,); NaN counts as an error within the threat alone, since noise is far outside."""
        search = self.search
        logits = search.ask(z, rows)
        reached = search.goal.reached(logits, rows)
        spoiled = logits.isnan().any(1)
        if spoiled.any():
            spoiled &= search.threat.measure(z, search.x[rows]) <= search.threat.eps
        judged = reached | spoiled
        search.judge(z[judged], rows[judged], logits[judged])
        return reached

    def start(self, rows: Tensor, tries: int) -> tuple[Tensor, Tensor]:
        """The first broken of ``tries`` uniform noises of the box: the rows that have one (m,), and it (m, *S).

        Every second noise is drawn on a coarser grid of its own, as wide as a power of two: a net that answers fine noise always in
        one way often does not answer patches so.
        """
        search = self.search
        low, high = self.box
        points, found = search.x[rows].clone(), torch.zeros_like(rows, dtype=torch.bool)
        going = torch.arange(len(rows), device=rows.device)
        for turn in range(tries):
            going = going[self.left(rows[going]) > 0]
            if not len(going):
                break
            if turn % START == 0:
                empty = search.x.new_empty(len(rows), START, *search.x.shape[1:])
                block = search.draw.at("start", turn // START).of(rows).uniform(empty)
            noise = low + (high - low) * coarse(block[going, turn % START], turn)
            hit = self.breaks(noise.clamp(low, high), rows[going])
            points[going[hit]], found[going[hit]] = noise.clamp(low, high)[hit], True
            going = going[~hit]
        return rows[found], points[found]

    def nearest(self, path: Path, rows: Tensor, tolerance: float) -> Tensor:
        """The last broken point (n, *S) before each path's boundary, by bisection down to ``tolerance`` of the way left.

        It ends where floating point does: a midpoint equal to one of its ends asks nothing more.
        """
        going = torch.arange(len(rows), device=rows.device)
        low = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
        high = torch.ones_like(low)
        near, far = path(low, going), path(high, going)
        while len(going):
            shares = (low[going] + high[going]) / 2
            z = path(shares, going)
            fresh = differs(z, near[going]) & differs(z, far[going]) & (high[going] - low[going] > tolerance * (1 - low[going]))
            fresh &= self.left(rows[going]) > 0
            going, shares, z = going[fresh], shares[fresh], z[fresh]
            if len(going):
                hit = self.breaks(z, rows[going])
                low[going[hit]], near[going[hit]] = shares[hit], z[hit]
                high[going[~hit]], far[going[~hit]] = shares[~hit], z[~hit]
        return near

    def normal(self, z: Tensor, rows: Tensor, radius: Tensor, votes: int, draw: Draw, noise: Noise) -> Tensor:
        r"""Directions (n, *S) towards more breaks at points ``z`` near the boundary, from the labels around them.

        .. math:: g = \sum_i (\phi_i - \bar\phi) u_i, \quad u_i = \frac{clip(z + r\, v_i / \|v_i\|_2) - z}{r}, \quad \phi_i = \pm 1

        with :math:`\pm \sum_i u_i` where all labels agree. Everything is normalised within the example.

        Args:
            z: Points (n, *S).
            rows: Whose they are (n,).
            radius: Of the probes (n,).
            votes: Probes per example; at most half of what it has left.
            draw: Streams of the whole batch, of this call alone.
            noise: The law of the directions.
        """
        features = z[0].numel()
        chunk = min(votes, max(1, PROBES // features))
        slab = max(1, BATCH // (chunk * features))
        counts = (self.left(rows) // 2).clamp(max=votes)
        pieces = range(0, len(rows), slab)
        cuts = [(z[a : a + slab], rows[a : a + slab], radius[a : a + slab], counts[a : a + slab]) for a in pieces]
        return torch.cat([self._poll(*cut, votes=votes, chunk=chunk, draw=draw, noise=noise) for cut in cuts])

    def _poll(self, z: Tensor, rows: Tensor, radius: Tensor, counts: Tensor, *, votes: int, chunk: int, draw: Draw, noise: Noise) -> Tensor:
        low, high = self.box
        everything, broken = torch.zeros_like(z), torch.zeros_like(z)
        ayes = torch.zeros_like(counts)
        for turn, first in enumerate(range(0, votes, chunk)):
            v = noise(draw.at(turn).of(rows), z.new_empty(len(z), chunk, *z.shape[1:])).flatten(2)
            v = v / torch.linalg.vector_norm(v, dim=2, keepdim=True).clamp(min=torch.finfo(v.dtype).tiny)
            reach = column(radius.to(v.dtype), v)
            here = z.flatten(1)[:, None]
            probes = (here + reach * v).clamp(low, high)
            asked = torch.arange(first, first + chunk, device=z.device) < counts[:, None]
            owner, _ = asked.nonzero(as_tuple=True)
            if not len(owner):
                break
            logits = self.search.ask(probes[asked].view(-1, *z.shape[1:]), rows[owner])
            ayes_here = torch.zeros_like(asked)
            ayes_here[asked] = self.search.goal.reached(logits, rows[owner])
            moved = torch.where(asked[..., None], (probes - here) / reach, 0)
            everything += moved.sum(1).view_as(z)
            broken += torch.where(ayes_here[..., None], moved, 0).sum(1).view_as(z)
            ayes += ayes_here.sum(1)
        share = column((ayes / counts.clamp(min=1)).to(z.dtype), z)
        agreed = (ayes == 0) | (ayes == counts)
        return torch.where(column(agreed, z), (2 * share - 1) * everything, 2 * (broken - share * everything))


def coarse(noise: Tensor, turn: int) -> Tensor:
    """Noise (n, *S) as it is at even turns; at odd ones, images repeat one value over squares whose side grows with the turn."""
    if turn % 2 == 0 or noise.dim() < 4:
        return noise
    side = 2 ** (1 + turn // 2 % max(1, int(math.log2(min(noise.shape[-2:]))) if min(noise.shape[-2:]) > 1 else 1))
    rows, columns = (torch.arange(size, device=noise.device) // side for size in noise.shape[-2:])
    return noise[..., rows[:, None], columns]


def differs(a: Tensor, b: Tensor) -> Tensor:
    """Whether two points (n, *S) differ anywhere (n,)."""
    return (a != b).flatten(1).any(1)
