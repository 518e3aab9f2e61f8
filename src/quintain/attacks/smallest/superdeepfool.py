"""SuperDeepFool: DeepFool, turned back onto the boundary's normal."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from quintain.attacks.loop import kept
from quintain.attacks.method import Method
from quintain.attacks.search import Answer, Search
from quintain.attacks.smallest.bisection import shrink
from quintain.attacks.smallest.deepfool import beyond_nearest, boxed, require_moves
from quintain.attacks.smallest.hyperplane import nearest

GAIN = 1e-3
"""By what share a break must be smaller than all before it for the search to go on."""


@dataclass(frozen=True, slots=True)
class SuperDeepFool(Method):
    r"""DeepFool to a break, then the nearest point to the clean one on the plane through the break along the boundary, and again.

    .. math:: \tilde z = DeepFool(z), \qquad z' = x + \arg\min_d \{\|d\|_2 : w \cdot d = w \cdot (\tilde z - x), \; x + d \in box\}

    with w the margin's gradient at :math:`\tilde z`: at the smallest change the change is parallel to w (but for the box), which
    DeepFool alone does not see to. An example ends once :math:`z'` itself breaks, or once a break is hardly smaller than the best; then
    it is bisected.

    Args:
        steps: Points per example, moves and turns together.
        candidates: Among how many classes a move seeks the nearest boundary, as in ``DeepFool``.
        overshoot: How far beyond the boundary a move goes, as a share of the whole change.

    Raises:
        SettingError: If a count is not positive, or the overshoot is negative.

    Guarantee:
        What it calls broken is inside the threat and was answered wrongly twice; no smaller change is ruled out.

    Source: Abdollahpoorrostam et al., 2023, arXiv:2303.12481; Moosavi-Dezfooli, Fawzi, Frossard, 2016, arXiv:1511.04599.
    """

    name: ClassVar[str] = "superdeepfool"
    serves: ClassVar[tuple[str, ...]] = ("l2",)
    smallest: ClassVar[bool] = True

    steps: int = 100
    candidates: int = 3
    overshoot: float = 2e-4

    def __post_init__(self) -> None:
        require_moves(self.steps, self.candidates, self.overshoot)

    def pursue(self, search: Search) -> None:
        """Move and turn, each example at its own pace; then bisect."""
        rows = search.rows
        z, turned = search.x[rows], torch.zeros_like(rows, dtype=torch.bool)
        for _ in range(self.steps):
            if not len(rows):
                break
            before = search.size[rows]
            answer = search.slope(z, rows, search.goal.margin)
            broken = search.goal.reached(answer.logits, rows)
            settled = turned | (search.size[rows] > (1 - GAIN) * before)
            still = search.standing(rows) & ~(broken & settled)
            rows, z, answer, turned = rows[still], z[still], kept(answer, still), broken[still]
            there, on = turned, ~turned
            moved = z.clone()
            moved[there] = _turned(search, z[there], search.x[rows[there]], kept(answer, there))
            moved[on] = beyond_nearest(search, z[on], rows[on], kept(answer, on), self.candidates, self.overshoot)
            going = (moved != z).flatten(1).any(1) & search.standing(rows)
            rows, z, turned = rows[going], moved[going], turned[going]
        if len(rows):
            search.scores(z, rows)
        shrink(search, search.rows)


def _turned(search: Search, z: Tensor, clean: Tensor, answer: Answer) -> Tensor:
    """The points nearest to the clean ones on the planes through broken ``z`` along the boundary."""
    origin, slope = clean.flatten(1), answer.gradient.flatten(1).nan_to_num(0.0, 0.0, 0.0)
    rise = ((z - clean).flatten(1) * slope).sum(1)
    return boxed(search, origin + nearest("l2", origin, slope, rise, search.threat.low, search.threat.high), z)
