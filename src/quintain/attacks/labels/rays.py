"""RayS: the nearest of the rays to the corners of a cube, by flipping ever smaller blocks of signs."""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from quintain.attacks.labels.boundary import Boundary, Path, check_questions
from quintain.attacks.method import Method
from quintain.attacks.search import Search
from quintain.models.protocol import Access
from quintain.threats.columns import column

PRECISION = 1e-3  # of the radius: what a flip must gain, and to which its own radius is bisected


@dataclass(frozen=True, slots=True)
class RayS(Method):
    r"""The direction of signs along which the boundary is nearest, from labels alone.

    .. math:: \min_{s \in \{-1, 1\}^d} \min\{r : f(clip(x + r s)) \text{ is broken}\}

    The signs are flipped block by block: first all of them, then halves, quarters, down to single values, again and again. A flip is
    looked at only if it is broken just below the best radius so far, which is one question; then its radius is bisected. An example that no
    single flip improves is done. Nothing is random.

    Args:
        questions: How often an example may be asked about, the unchanged input and the final check included.
        early: Stop at the first change within the threat, and do not seek the smallest.

    Raises:
        SettingError: If a setting is out of its range.

    Guarantee:
        What it calls broken is inside the threat and was answered wrongly twice; what it does not break may still be breakable.

    Source: Chen, Gu, 2020, arXiv:2006.12792.
    """

    name: ClassVar[str] = "rays"
    access: ClassVar[Access] = "labels"
    serves: ClassVar[tuple[str, ...]] = ("linf",)
    smallest: ClassVar[bool] = True

    questions: int = 10_000
    early: bool = False

    def __post_init__(self) -> None:
        check_questions(self.questions)

    def pursue(self, search: Search) -> None:
        """Flip and bisect until nothing helps or the questions are spent."""
        rows = search.rows
        if not len(rows):
            return
        boundary = Boundary(search, self.questions, self.early)
        signs = torch.ones_like(search.x[rows]).flatten(1)
        radius = torch.full((len(rows),), search.threat.high - search.threat.low, dtype=torch.float64, device=rows.device)
        features = signs.shape[1]
        blocks, helped = 0, torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
        while len(rows):
            for first, last in _cuts(features, blocks):
                going = boundary.left(rows) > 0
                rows, signs, radius, helped = rows[going], signs[going], radius[going], helped[going]
                if not len(rows):
                    return
                flipped = signs.clone()
                flipped[:, first:last] *= -1
                x, everybody = search.x[rows], torch.arange(len(rows), device=rows.device)
                reach = torch.where(search.size[rows].isfinite(), (1 - PRECISION) * radius, radius)
                hit = boundary.breaks(_ray(boundary, x, flipped, reach)(torch.zeros_like(reach), everybody), rows)
                if not hit.any():
                    continue
                signs[hit], helped[hit] = flipped[hit], True
                near = boundary.nearest(_ray(boundary, x[hit], flipped[hit], reach[hit]), rows[hit], PRECISION)
                radius[hit] = search.threat.measure(near, x[hit])
            if blocks >= features:
                rows, signs, radius, helped = rows[helped], signs[helped], radius[helped], helped[helped]
                helped = torch.zeros_like(helped)
            else:
                blocks = min(2 * blocks, features) if blocks else 1


def _cuts(features: int, blocks: int) -> list[tuple[int, int]]:
    """Where ``blocks`` blocks of nearly equal length begin and end; nothing to flip, once, for none."""
    if not blocks:
        return [(0, 0)]
    edges = [features * place // blocks for place in range(blocks + 1)]
    return list(pairwise(edges))


def _ray(boundary: Boundary, x: Tensor, signs: Tensor, radius: Tensor) -> Path:
    """The way from the points at ``radius`` to ``x``."""

    def path(shares: Tensor, places: Tensor) -> Tensor:
        origin = x[places]
        return (origin + column(((1 - shares) * radius[places]).to(x.dtype), x) * signs[places].view_as(origin)).clamp(*boundary.box)

    return path
