"""DeepFool: from one linearised boundary to the next, until the other side is reached."""

from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor

from quintain.attacks.loop import kept
from quintain.attacks.method import Method
from quintain.attacks.search import Answer, Search
from quintain.attacks.smallest.bisection import shrink
from quintain.attacks.smallest.hyperplane import ORDER, Norm, nearest
from quintain.core.errors import SettingError
from quintain.core.limits import at_least
from quintain.core.tokens import kind_of
from quintain.threats.rounding import box_inside


@dataclass(frozen=True, slots=True)
class DeepFool(Method):
    r"""Move onto the nearest of the linearised boundaries, again and again, until the answer is a break; then bisect.

    .. math:: z' = clip\big(x + (1 + o) (z + d_k(z) - x)\big), \quad k = \arg\min_k \|d_k(z)\|

    with :math:`d_k(z)` the smallest change inside the box that closes the linearised lead of the true class over class k, and
    :math:`o` the overshoot. Where targets are given, the lead of the target over the best other class is the only one.

    Args:
        steps: Moves per example.
        candidates: Among how many classes, those with the largest logits at z, the nearest boundary is sought: each costs an answer and
            a gradient a move. Once z breaks, one was enough.
        overshoot: How far beyond the boundary a move goes, as a share of the whole change.

    Raises:
        SettingError: If a count is not positive, or the overshoot is negative.

    Guarantee:
        What it calls broken is inside the threat and was answered wrongly twice; no smaller change is ruled out.

    Source: Moosavi-Dezfooli, Fawzi, Frossard, 2016, arXiv:1511.04599.
    """

    name: ClassVar[str] = "deepfool"
    smallest: ClassVar[bool] = True

    steps: int = 50
    candidates: int = 10
    overshoot: float = 2e-4

    def __post_init__(self) -> None:
        require_moves(self.steps, self.candidates, self.overshoot)

    def pursue(self, search: Search) -> None:
        """Move until broken, or until nothing moves any more; then bisect."""
        rows, z = search.rows, search.x[search.rows]
        for _ in range(self.steps):
            if not len(rows):
                break
            answer = search.slope(z, rows, search.goal.margin)
            still = search.standing(rows) & search.size[rows].isinf()
            rows, z, answer = rows[still], z[still], kept(answer, still)
            moved = beyond_nearest(search, z, rows, answer, self.candidates, self.overshoot)
            going = (moved != z).flatten(1).any(1) & search.standing(rows)
            rows, z = rows[going], moved[going]
        if len(rows):
            search.scores(z, rows)
        shrink(search, search.rows)


def require_moves(steps: int, candidates: int, overshoot: float) -> None:
    """Refuse settings of DeepFool and its kin that make no sense.

    Raises:
        SettingError: If a count is not positive, or the overshoot is negative or not finite.
    """
    at_least(1, steps=steps, candidates=candidates)
    if not 0 <= overshoot < torch.inf:
        raise SettingError(f"overshoot = {overshoot}; expected a share of the change, such as 2e-4")


def beyond_nearest(search: Search, z: Tensor, rows: Tensor, answer: Answer, candidates: int, overshoot: float) -> Tensor:
    """Points just beyond the nearest of the boundaries that are linearised at unbroken ``z`` (n, *S); ``answer`` is the margin's there.

    Where the budget ends, fewer boundaries are looked at, so that one question is left for the move.
    """
    flat = z.flatten(1)
    change, distance = _onto(search, flat, answer)
    for rival in _others(search, rows, answer, candidates):
        able = search.standing(rows, price=2)
        if not able.any():
            break
        lead = search.goal.towards(search.goal.y.index_copy(0, rows, rival))
        other, far = _onto(search, flat[able], search.slope(z[able], rows[able], lead))
        nearer = far < distance[able]
        places = able.nonzero().squeeze(1)[nearer]
        change[places], distance[places] = other[nearer], far[nearer]
    origin = search.x[rows].flatten(1)
    return boxed(search, torch.lerp(origin, flat + change, 1 + overshoot), z)


def boxed(search: Search, point: Tensor, like: Tensor) -> Tensor:
    """Flat points (n, F) as points of the box, in the shape and dtype of ``like``."""
    return point.to(like.dtype).clamp_(*box_inside(search.threat.low, search.threat.high, like.dtype)).view_as(like)


def _others(search: Search, rows: Tensor, answer: Answer, candidates: int) -> tuple[Tensor, ...]:
    """The wrong classes (n,) after the best, best first; none where there is a target."""
    if search.goal.targets is not None:
        return ()
    wrong = answer.logits.scatter(1, search.goal.y[rows].unsqueeze(1), -torch.inf)
    return wrong.topk(min(candidates, wrong.shape[1] - 1), dim=1).indices.unbind(1)[1:]


def _onto(search: Search, z: Tensor, answer: Answer) -> tuple[Tensor, Tensor]:
    """The smallest change (n, F) of z onto a linearised boundary, and its size (n,): infinite where the box ends before it."""
    norm = cast(Norm, kind_of(search.threat.token))
    slope = answer.gradient.flatten(1).nan_to_num(0.0, 0.0, 0.0)
    change = nearest(norm, z, slope, -answer.values, search.threat.low, search.threat.high)
    there = (change * slope).sum(1) >= -answer.values * (1 - 1e-3)
    return change, torch.linalg.vector_norm(change, ORDER[norm], dim=1).where(there, torch.inf)
