"""The attacks of Carlini and Wagner: the box is dissolved by a change of variables, and one number per example is found by bisection."""

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from quintain.attacks.loop import kept
from quintain.attacks.method import Method
from quintain.attacks.search import Search
from quintain.attacks.smallest.constant import bisect_constant
from quintain.attacks.smallest.radii import divisor, euclidean, length
from quintain.attacks.smallest.reach import reach, refine
from quintain.attacks.step import falling
from quintain.core.errors import SettingError
from quintain.core.tokens import kind_of
from quintain.threats.columns import column
from quintain.threats.rounding import box_inside

EDGE = 1 - 1e-6
"""How near to a face of the box a point begins, of the way from its middle: on it, no step in w would move the point."""

INSIDE = 0.9
"""The same in Linf, where any coordinate may have to cross its whole cube."""


@dataclass(frozen=True, slots=True)
class CarliniWagner(Method):
    r"""Adam on the size of the change and on what the margin lacks, in variables without bounds.

    .. math:: \min_w \|z - x\|_2^2 + c \max(-m(f(z), y), 0), \qquad z = mid + half \cdot \tanh w

    In L2, ``mid`` and ``half`` are the box's, and ``c`` of each example is bisected between one that broke it and one that did not. In
    Linf they are those of the box cut with the cube of side :math:`2 \tau` around x; within it only the second term is left, and
    :math:`\tau` is bisected. The first break comes from signed steps across the box, and every search starts from the best point so
    far: with steps scaled to its distance, since from the faces of the box, where :math:`\tanh` is flat, small steps lead nowhere.

    Args:
        searches: Values of ``c`` or :math:`\tau` per example.
        steps: Gradients of each; in Linf a break ends it, in L2 a value that has not fallen by a ten-thousandth in a tenth of them.
        rate: The first step: in L2 as a share of the largest change so far, in Linf in units of w; the last is a hundredth (a cosine).

    Raises:
        SettingError: If a setting is not positive, or ``steps`` below 10.

    Guarantee:
        What it calls broken is of the size given and was answered wrongly twice; there may be smaller changes.

    Source: Carlini and Wagner, 2017, arXiv:1608.04644.
    """

    name: ClassVar[str] = "carlini-wagner"
    serves: ClassVar[tuple[str, ...]] = ("linf", "l2")
    smallest: ClassVar[bool] = True

    searches: int = 9
    steps: int = 100
    rate: float = 0.3

    def __post_init__(self) -> None:
        if self.searches < 1 or self.steps < 10:
            raise SettingError(f"searches = {self.searches}, steps = {self.steps}; expected at least 1 and 10")
        if not 0 < self.rate < math.inf:
            raise SettingError(f"rate = {self.rate}; expected a positive number, such as 0.3")

    def pursue(self, search: Search) -> None:
        """Bisect, then refine."""
        reach(search, search.rows)
        (self._by_constant if kind_of(search.threat.token) == "l2" else self._by_cube)(search)
        refine(search, search.rows)

    def _by_constant(self, search: Search) -> None:
        rows, first = search.rows, torch.ones_like(search.height)
        if len(rows):
            gradient = search.slope(search.best[rows], rows, search.goal.margin).gradient.nan_to_num(0.0, 0.0, 0.0)
            first[rows] = 2 * length(search.threat, search.best[rows] - search.x[rows]) / euclidean(gradient)
        bisect_constant(search, self.searches, first, partial(self._descend, search))

    def _descend(self, search: Search, rows: Tensor, constant: Tensor) -> Tensor:
        """One search in L2, with ``constant`` (B,); whether its later half held a break (B,)."""
        low, high = box_inside(search.threat.low, search.threat.high, search.x.dtype)
        middle, half = (low + high) / 2, (high - low) / 2
        clean, best = search.x[rows], search.best[rows]
        farthest = (best - clean).flatten(1).abs().amax(1)
        farthest = column(torch.where(farthest > 0, farthest, half), clean)
        state = _start((best - middle) / half, EDGE)
        least = mark = torch.full_like(farthest.flatten(), torch.inf)
        held = torch.zeros_like(search.broken)
        for step in range(self.steps):
            if not len(rows):
                break
            tanh = state.w.tanh()
            z = middle + half * tanh
            answer = search.slope(z, rows, search.goal.margin)
            late, reached = step >= self.steps // 2, search.goal.reached(answer.logits, rows)
            held[rows] |= reached & late
            c, change = constant[rows].to(z.dtype), z - clean
            least = torch.minimum(least, change.flatten(1).square().sum(1) + c * (-answer.values).clamp(min=0).to(z.dtype))
            pull = 2 * change - column(c * ~reached, z) * answer.gradient.nan_to_num(0.0, 0.0, 0.0)
            bend = half * (1 - tanh.square())
            state = _adam(state, pull * bend, step, falling(self.rate, 0.01, step, self.steps) * (farthest / bend).clamp(max=0.5))
            still = search.standing(rows)
            if late and step % (self.steps // 10) == 0:
                still &= least < 0.9999 * mark
                mark = least
            if not still.all():
                rows, clean, farthest, least, mark = (part[still] for part in (rows, clean, farthest, least, mark))
                state = kept(state, still)
        return held

    def _by_cube(self, search: Search) -> None:
        low, high = box_inside(search.threat.low, search.threat.high, search.x.dtype)
        failed = torch.zeros_like(search.size)
        for _ in range(self.searches):
            rows = search.rows
            rows = rows[failed[rows] < high - low]
            tau, clean = ((failed[rows] + search.size[rows]) / 2).clamp(max=high - low), search.x[rows]
            side = column(tau.to(clean.dtype), clean)
            lower, upper = (clean - side).clamp(min=low), (clean + side).clamp(max=high)
            middle, half = (lower + upper) / 2, (upper - lower) / 2
            state = _start(((search.best[rows] - middle) / half).nan_to_num(0.0), INSIDE)
            for step in range(self.steps):
                if not len(rows):
                    break
                tanh = state.w.tanh()
                answer = search.slope(middle + half * tanh, rows, search.goal.margin)
                pull = -answer.gradient.nan_to_num(0.0, 0.0, 0.0) * half * (1 - tanh.square())
                state = _adam(state, pull, step, falling(self.rate, 0.01, step, self.steps))
                still = search.standing(rows) & ~search.goal.reached(answer.logits, rows)
                if not still.all():
                    rows, tau, middle, half, state = *(part[still] for part in (rows, tau, middle, half)), kept(state, still)
            failed[rows] = tau


class Moments(NamedTuple):
    """What Adam remembers of each example: the variables, and the running means of the gradient and of its square."""

    w: Tensor
    mean: Tensor
    square: Tensor


def _start(share: Tensor, edge: float) -> Moments:
    """At given shares (n, *S) of the way from the middle to the faces, none nearer to them than ``edge``."""
    share = share.clamp(-edge, edge)
    w = ((1 + share) / (1 - share)).log() / 2
    return Moments(w, torch.zeros_like(w), torch.zeros_like(w))


def _adam(state: Moments, gradient: Tensor, step: int, rate: Tensor | float) -> Moments:
    """One step downwards, with the usual decays 0.9 and 0.999; nothing where every gradient was zero."""
    mean, square = 0.9 * state.mean + 0.1 * gradient, 0.999 * state.square + 0.001 * gradient.square()
    scale = (square / (1 - 0.999 ** (step + 1))).sqrt()
    change = rate * mean / (1 - 0.9 ** (step + 1)) / divisor(scale)
    return Moments(state.w - change, mean, square)
