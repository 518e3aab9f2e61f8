"""SimBA: one pixel's value after another, up or down, kept where it helps."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from quintain.attacks.base import Attack
from quintain.attacks.search import Search
from quintain.core.errors import SettingError
from quintain.core.limits import require_at_least
from quintain.models.protocol import Access
from quintain.threats.l2 import L2


@dataclass(frozen=True, slots=True)
class SimBA(Attack):
    r"""A step along each coordinate in random order, or else against it, where that raises the margin.

    .. math:: z' = \Pi_x(z \pm \alpha e_i), \qquad z \leftarrow z' \text{ where } m(f(z')) > m(f(z))

    with :math:`\Pi_x` the threat's projection, so that the search goes on at the edge of the ball. In the
    ball of the largest change a step goes to the end of the range. When every coordinate has been tried, they
    are tried again in another order. Euclidean steps get shorter along a cosine, so that the last queries
    settle what the first have found.

    Args:
        queries: How often the model is asked about an example, at most; an example stops at its first
            success.
        rel_step_size: Length of the first steps where lengths are Euclidean, as a share of the threat's
            ``eps``.

    Raises:
        SettingError: If a number is out of range.

    Guarantee:
        Each success is allowed by the threat (float64, no tolerance) and was confirmed by a second forward
        pass on the stored point. A failure does not show robustness.

    Source: Guo et al., 2019, arXiv:1905.07121.
    """

    name: ClassVar[str] = "simba"
    summary: ClassVar[str] = (
        "one value after another, up or down: simple, and exact where the model is nearly linear"
    )
    use_for: ClassVar[str] = "nearly linear models"
    cost: ClassVar[str] = "{queries}"
    access: ClassVar[Access] = "scores"
    optimality_gap: ClassVar = {"l2": 0.03}
    test_settings: ClassVar = {"queries": 80}
    gap_test_settings: ClassVar = {"queries": 500}

    queries: int = 2000
    rel_step_size: float = 0.2

    def __post_init__(self) -> None:
        require_at_least(1, queries=self.queries)
        if not 0 < self.rel_step_size < math.inf:
            raise SettingError(
                f"rel_step_size = {self.rel_step_size}; expected a positive share of eps, such as 0.2"
            )

    def run(self, search: Search) -> None:
        """Try the coordinates one by one."""
        threat, rows = search.threat, search.active_rows
        if not len(rows) or not threat.eps:
            return
        clean = search.x[rows]
        cache, z = threat.projection_cache(clean), clean.clone()
        value = search.goal.margin(search.clean_logits[rows], rows)
        queries = min(self.queries, int(search.model.queries_left(rows).amax()) - 1)
        spent, features, order = torch.zeros_like(rows), clean[0].numel(), rows[:, None]
        for iteration in range(queries):
            active = search.is_active(rows) & (spent < queries)
            if not active.all():
                rows, clean, z, value, spent, order = (
                    part[active] for part in (rows, clean, z, value, spent, order)
                )
                cache = tuple(part[active] for part in cache)
                if not len(rows):
                    return
            pass_number, coordinate = divmod(iteration, features)
            # a random order of the coordinates for each pass
            if not coordinate:
                uniforms = (
                    search.rng.fold_in(pass_number)
                    .select(rows)
                    .uniform(torch.empty(len(rows), features, device=rows.device))
                )
                order = uniforms.argsort(dim=1, stable=True)
            not_improved = torch.ones_like(rows, dtype=torch.bool)
            # try +step, then -step only where + did not help
            for sign in (1, -1):
                step = (
                    sign * threat.eps * self._share(spent / queries)
                    if isinstance(threat, L2)
                    else 2 * sign * threat.eps
                )
                row_steps = torch.as_tensor(step, dtype=z.dtype, device=z.device).expand(len(rows))
                moved = threat.project(
                    z.flatten(1).scatter_add(1, order[:, coordinate, None], row_steps[:, None]).view_as(z),
                    clean,
                    cache,
                )
                asked = (
                    not_improved & (moved != z).flatten(1).any(1) & search.is_active(rows) & (spent < queries)
                )
                to_query = asked.nonzero().squeeze(1)
                if not len(to_query):
                    continue
                new_margin = search.goal.margin(search.query(moved[to_query], rows[to_query]), rows[to_query])
                spent[to_query] += 1
                better = new_margin > value[to_query]
                improved_rows = to_query[better]
                z[improved_rows], value[improved_rows], not_improved[improved_rows] = (
                    moved[improved_rows],
                    new_margin[better],
                    False,
                )

    def _share(self, progress: Tensor) -> Tensor:
        return self.rel_step_size * (1 + torch.cos(math.pi * progress)) / 2
