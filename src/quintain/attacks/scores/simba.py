"""SimBA: one pixel's value after another, up or down, kept where it helps."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from quintain.attacks.method import Method
from quintain.attacks.search import Search
from quintain.core.errors import SettingError
from quintain.core.limits import at_least
from quintain.models.protocol import Access
from quintain.threats.l2 import L2


@dataclass(frozen=True, slots=True)
class SimBA(Method):
    r"""A step along each coordinate in random order, or else against it, where that raises the margin.

    .. math:: z' = \Pi_x(z \pm \alpha e_i), \qquad z \leftarrow z' \text{ where } m(f(z')) > m(f(z))

    with :math:`\Pi_x` the threat's projection, so that the search goes on at the edge of the ball. In the ball of the largest change
    a step goes to the end of the range. When every coordinate has been tried, they are tried again in another order. Euclidean
    steps get shorter along a cosine, so that the last questions settle what the first have found.

    Args:
        questions: How often the model is asked about an example, at most; a broken example stops paying.
        rate: Length of the first steps where lengths are Euclidean, as a share of the threat's ``eps``.

    Raises:
        SettingError: If a number is out of range.

    Guarantee:
        What it calls broken is inside the threat and was answered wrongly twice; what it does not break may still be breakable.

    Source: Guo et al., 2019, arXiv:1905.07121.
    """

    name: ClassVar[str] = "simba"
    access: ClassVar[Access] = "scores"

    questions: int = 2000
    rate: float = 0.2

    def __post_init__(self) -> None:
        at_least(1, questions=self.questions)
        if not 0 < self.rate < math.inf:
            raise SettingError(f"rate = {self.rate}; expected a positive share of eps, such as 0.2")

    def pursue(self, search: Search) -> None:
        """Try the coordinates one by one."""
        threat, rows = search.threat, search.rows
        if not len(rows) or not threat.eps:
            return
        clean = search.x[rows]
        room, z = threat.room(clean), clean.clone()
        value = search.goal.margin(search.clean_logits[rows], rows)
        questions = min(self.questions, int(search.meter.left(rows).amax()) - 1)
        spent, features, order = torch.zeros_like(rows), clean[0].numel(), rows[:, None]
        for turn in range(questions):
            still = search.standing(rows) & (spent < questions)
            if not still.all():
                rows, clean, z, value, spent, order = (part[still] for part in (rows, clean, z, value, spent, order))
                room = tuple(part[still] for part in room)
                if not len(rows):
                    return
            lap, place = divmod(turn, features)
            if not place:
                luck = search.draw.at(lap).of(rows).uniform(torch.empty(len(rows), features, device=rows.device))
                order = luck.argsort(dim=1, stable=True)
            untried = torch.ones_like(rows, dtype=torch.bool)
            for side in (1, -1):
                step = side * threat.eps * self._share(spent / questions) if isinstance(threat, L2) else 2 * side * threat.eps
                by = torch.as_tensor(step, dtype=z.dtype, device=z.device).expand(len(rows))
                moved = threat.project(z.flatten(1).scatter_add(1, order[:, place, None], by[:, None]).view_as(z), clean, room)
                asking = untried & (moved != z).flatten(1).any(1) & search.standing(rows) & (spent < questions)
                live = asking.nonzero().squeeze(1)
                if not len(live):
                    continue
                there = search.goal.margin(search.scores(moved[live], rows[live]), rows[live])
                spent[live] += 1
                better = there > value[live]
                won = live[better]
                z[won], value[won], untried[won] = moved[won], there[better], False

    def _share(self, progress: Tensor) -> Tensor:
        return self.rate * (1 + torch.cos(math.pi * progress)) / 2
