"""HopSkipJump: back to the boundary, ask around, jump along its normal."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from quintain.attacks.labels.boundary import Boundary, Path, check_questions, differs, straight
from quintain.attacks.method import Method
from quintain.attacks.search import Search
from quintain.core.limits import at_least
from quintain.core.tokens import kind_of
from quintain.models.protocol import Access
from quintain.threats.columns import column
from quintain.threats.draw import Draw


@dataclass(frozen=True, slots=True)
class HopSkipJump(Method):
    r"""A walk along the decision boundary towards the input, from labels alone.

    .. math:: z_t = \Pi_{[x, \tilde z_t]}(\text{boundary}), \quad \tilde z_{t+1} = clip(z_t + \xi_t\, s(g_t)), \quad
        \xi_t = 2^{-k} \frac{\|z_t - x\|}{\sqrt t}

    with :math:`g_t` the normal by :math:`100 \sqrt t` votes at radius :math:`\|\tilde z_t - x\| / d`, :math:`s` the threat's steepest
    step, and the smallest :math:`k` that stays broken. In Linf the way back to ``x`` is the shrinking of the largest changes.
    With targets, a noise must meet the target class by itself: likely with few classes, rare with many.

    Args:
        questions: How often an example may be asked about, the unchanged input and the final check included.
        votes: Probes of the first round; round t has :math:`\sqrt t` times as many.
        tries: Noises tried for a first broken point; without one an example counts as unbroken.
        early: Stop at the first change within the threat, and do not seek the smallest.

    Raises:
        SettingError: If a setting is out of its range.

    Guarantee:
        What it calls broken is inside the threat and was answered wrongly twice; what it does not break may still be breakable.

    Source: Chen, Jordan, Wainwright, 2020, arXiv:1904.02144.
    """

    name: ClassVar[str] = "hopskipjump"
    access: ClassVar[Access] = "labels"
    smallest: ClassVar[bool] = True

    questions: int = 10_000
    votes: int = 100
    tries: int = 500
    early: bool = False

    def __post_init__(self) -> None:
        check_questions(self.questions)
        at_least(1, votes=self.votes, tries=self.tries)

    def pursue(self, search: Search) -> None:
        """Walk until the questions are spent."""
        if not len(search.rows):
            return
        boundary, threat = Boundary(search, self.questions, self.early), search.threat
        features, flat = search.x[0].numel(), kind_of(threat.token) == "linf"
        tolerance = features ** (-2.0 if flat else -1.5)
        finest = 8 * torch.finfo(search.x.dtype).eps * max(abs(threat.low), abs(threat.high)) * math.sqrt(features)
        rows, z = boundary.start(search.rows, self.tries)
        before = torch.full((len(rows),), 0.1 * (threat.high - threat.low) * features, dtype=torch.float64, device=z.device)
        turn = 0
        while len(rows):
            x = search.x[rows]
            if turn:
                before = threat.measure(z, x)
            z = boundary.nearest(shrinking(z, x, threat.measure(z, x)) if flat else straight(z, x), rows, tolerance)
            going = boundary.left(rows) > 1
            rows, x, z, before = rows[going], x[going], z[going], before[going]
            if not len(rows):
                return
            turn += 1
            votes = min(10_000, int(self.votes * math.sqrt(turn)))
            radius = (before / features).clamp(min=finest)
            normal = boundary.normal(z, rows, radius, votes, search.draw.at("votes", turn), _uniform if flat else Draw.normal)
            z = _jump(boundary, z, rows, threat.ascend(normal, 1.0), threat.measure(z, x) / math.sqrt(turn))


def shrinking(z: Tensor, x: Tensor, size: Tensor) -> Path:
    """The way from ``z`` to ``x`` on which the largest change shrinks and smaller ones stay."""

    def path(shares: Tensor, places: Tensor) -> Tensor:
        origin = x[places]
        most = column(((1 - shares) * size[places]).to(origin.dtype), origin)
        return torch.minimum(torch.maximum(z[places], origin - most), origin + most)

    return path


def _uniform(draw: Draw, like: Tensor) -> Tensor:
    return 2 * draw.uniform(like) - 1


def _jump(boundary: Boundary, z: Tensor, rows: Tensor, direction: Tensor, length: Tensor) -> Tensor:
    """The first broken point (n, *S) along each direction, its length halved until there is one; ``z`` where there is none."""
    landed, going = z.clone(), torch.arange(len(rows), device=rows.device)
    while True:
        target = (z[going] + column(length[going].to(z.dtype), z) * direction[going]).clamp(*boundary.box)
        fresh = differs(target, z[going]) & (boundary.left(rows[going]) > 0)
        going, target = going[fresh], target[fresh]
        if not len(going):
            return landed
        hit = boundary.breaks(target, rows[going])
        landed[going[hit]] = target[hit]
        going = going[~hit]
        length = length / 2
