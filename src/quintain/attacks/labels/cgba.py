"""CGBA: along a half circle from the boundary towards its normal."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from quintain.attacks.labels.boundary import Boundary, Path, check_questions, straight
from quintain.attacks.method import Method
from quintain.attacks.search import Search
from quintain.core.limits import at_least
from quintain.models.protocol import Access
from quintain.threats.columns import column
from quintain.threats.draw import Draw


@dataclass(frozen=True, slots=True)
class CGBA(Method):
    r"""Bisection on half circles through the input and the boundary, from labels alone.

    .. math:: z(\theta) = clip\big(x + \|\delta\| \cos\theta\, (\cos\theta\, v + \sin\theta\, u)\big), \quad \delta = z_t - x,\;
        v = \delta / \|\delta\|

    with :math:`u` the part of the normal, estimated by :math:`votes \sqrt t` labels, that is orthogonal to :math:`v`: each angle is
    nearer to ``x`` than the last one, and where the boundary is flat the circle meets it at its nearest point (Thales). Values
    that lie on the box and want out keep their change, and the circle is drawn in the others: with the box in the way, that is what
    makes the nearest point the end. With targets, a noise must meet the target class by itself.

    Args:
        questions: How often an example may be asked about, the unchanged input and the final check included.
        votes: Probes of the first round; round t has :math:`\sqrt t` times as many.
        tries: Noises tried for a first broken point; without one an example counts as unbroken.
        early: Stop at the first change within the threat, and do not seek the smallest.

    Raises:
        SettingError: If a setting is out of its range.

    Guarantee:
        What it calls broken is inside the threat and was answered wrongly twice; what it does not break may still be breakable.

    Source: Reza, Rahmati, Wu, Dai, 2023, arXiv:2308.03163; the treatment of the box is ours.
    """

    name: ClassVar[str] = "cgba"
    access: ClassVar[Access] = "labels"
    serves: ClassVar[tuple[str, ...]] = ("l2",)
    smallest: ClassVar[bool] = True

    questions: int = 10_000
    votes: int = 30
    tries: int = 500
    early: bool = False

    def __post_init__(self) -> None:
        check_questions(self.questions)
        at_least(1, votes=self.votes, tries=self.tries)

    def pursue(self, search: Search) -> None:
        """Circle until the questions are spent."""
        if not len(search.rows):
            return
        boundary, threat = Boundary(search, self.questions, self.early), search.threat
        features = search.x[0].numel()
        tolerance = features**-1.5
        finest = 8 * torch.finfo(search.x.dtype).eps * max(abs(threat.low), abs(threat.high)) * math.sqrt(features)
        rows, z = boundary.start(search.rows, self.tries)
        if len(rows):
            z = boundary.nearest(straight(z, search.x[rows]), rows, tolerance)
        turn = 0
        while True:
            going = boundary.left(rows) > 1
            rows, z = rows[going], z[going]
            if not len(rows):
                return
            x = search.x[rows]
            turn += 1
            radius = (threat.measure(z, x) / features).clamp(min=finest)
            votes = min(10_000, int(self.votes * math.sqrt(turn)))
            normal = boundary.normal(z, rows, radius, votes, search.draw.at("votes", turn), Draw.normal)
            z = boundary.nearest(circle(z, x, normal, boundary.box), rows, tolerance)


def circle(z: Tensor, x: Tensor, normal: Tensor, box: tuple[float, float]) -> Path:
    r"""The half circles from ``z`` at share 0 to ``x`` at share 1, in the plane of the change and the normal.

    A value on a face of the box whose normal points out keeps its change, unless that is more than its share
    :math:`l n_i` of the change along the normal, :math:`l = \langle \delta, n \rangle / \|n\|^2` over the free values.
    """
    low, high = box
    change, steep = (z - x).flatten(1), normal.flatten(1)
    flat = z.flatten(1)
    stuck = ((flat <= low) & (steep < 0)) | ((flat >= high) & (steep > 0))
    level = (change * steep).masked_fill(stuck, 0).sum(1) / steep.square().masked_fill(stuck, 0).sum(1)
    stuck &= change.abs() <= level.nan_to_num(0.0)[:, None] * steep.abs()
    fixed = torch.where(stuck, change, 0)
    free, steep = change - fixed, steep.masked_fill(stuck, 0)
    length = torch.linalg.vector_norm(free, dim=1, keepdim=True)
    along = free / length.clamp(min=torch.finfo(x.dtype).tiny)
    across = steep - (steep * along).sum(1, keepdim=True) * along
    across = across / torch.linalg.vector_norm(across, dim=1, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)

    def path(shares: Tensor, places: Tensor) -> Tensor:
        angle = (shares * (math.pi / 2))[:, None]
        turned = angle.cos().to(x.dtype) * along[places] + angle.sin().to(x.dtype) * across[places]
        moved = fixed[places] + angle.cos().to(x.dtype) * length[places] * turned
        point = (x[places] + moved.view_as(x[places])).clamp(low, high)
        return torch.where(column(shares == 0, x), z[places], torch.where(column(shares == 1, x), x[places], point))

    return path
