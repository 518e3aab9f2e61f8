"""SimBA: steps along single coordinates, kept where they raise the margin."""

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
from quintain.threats.threat import Threat


@dataclass(frozen=True, slots=True)
class SimBA(Attack):
    r"""Steps along one coordinate after another, in random order, kept where they raise the margin.

    .. math:: z' = \Pi_x(z \pm \alpha e_i), \qquad z \leftarrow z' \text{ where } m(f(z')) > m(f(z))

    with :math:`\Pi_x` the projection onto the threat, so that the search continues at the edge of the ball.
    Each coordinate is tried upwards, and downwards only where that did not help. After all coordinates the
    next pass takes them in another order. In Linf a step is 2 ``eps`` long and so ends at the edge. In L2 its
    length falls to 0 along a cosine, so that late queries refine what early ones found.

    Args:
        queries: Most forward passes per example; an example stops at its first success.
        rel_step_size: Length of the first steps as a fraction of ``eps``; only L2 uses it.

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
    min_queries: ClassVar[int] = 1000
    optimality_gap: ClassVar = {"l2": 0.03}
    test_settings: ClassVar = {"queries": 80}
    gap_test_settings: ClassVar = {"queries": 500}

    queries: int = 2000
    rel_step_size: float = 0.2

    def __post_init__(self) -> None:
        require_at_least(1, queries=self.queries)
        if not 0 < self.rel_step_size < math.inf:
            raise SettingError(
                f"rel_step_size = {self.rel_step_size}; expected a positive fraction of eps, such as 0.2"
            )

    def run(self, search: Search) -> None:
        """Try one coordinate per iteration, of every active example."""
        threat, rows = search.threat, search.active_rows
        if not len(rows) or not threat.eps:
            return
        clean = search.x[rows]
        cache, z = threat.projection_cache(clean), clean.clone()
        margin = search.goal.margin(search.clean_logits[rows], rows)
        # one query of the budget stays for the pass that confirms a success
        max_queries = min(self.queries, int(search.model.queries_left(rows).amax()) - 1)
        queries_used, num_coordinates, order = torch.zeros_like(rows), clean[0].numel(), rows[:, None]
        for iteration in range(max_queries):
            active = search.is_active(rows) & (queries_used < max_queries)
            if not active.all():
                rows, clean, z, margin, queries_used, order = (
                    tensor[active] for tensor in (rows, clean, z, margin, queries_used, order)
                )
                cache = tuple(tensor[active] for tensor in cache)
                if not len(rows):
                    return
            pass_number, index = divmod(iteration, num_coordinates)
            if index == 0:
                # a new random order of the coordinates (n, F) for each pass
                uniforms = (
                    search.rng.fold_in(pass_number)
                    .select(rows)
                    .uniform(torch.empty(len(rows), num_coordinates, device=rows.device))
                )
                order = uniforms.argsort(dim=1, stable=True)
            improved = torch.zeros_like(rows, dtype=torch.bool)
            for sign in (1, -1):
                step = sign * threat.eps * self._rel_step_size(threat, queries_used / max_queries)
                steps = torch.as_tensor(step, dtype=z.dtype, device=z.device).expand(len(rows))
                candidates = threat.project(
                    z.flatten(1).scatter_add(1, order[:, index, None], steps[:, None]).view_as(z),
                    clean,
                    cache,
                )
                # a candidate that the projection took back to z costs no query
                moved = (candidates != z).flatten(1).any(1)
                to_query = (
                    (~improved & moved & search.is_active(rows) & (queries_used < max_queries))
                    .nonzero()
                    .squeeze(1)
                )
                if not len(to_query):
                    continue
                logits = search.query(candidates[to_query], rows[to_query])
                new_margin = search.goal.margin(logits, rows[to_query])
                queries_used[to_query] += 1
                better = new_margin > margin[to_query]
                kept = to_query[better]
                z[kept], margin[kept], improved[kept] = candidates[kept], new_margin[better], True

    def _rel_step_size(self, threat: Threat, progress: Tensor) -> Tensor | float:
        """Return the step length over ``eps``; in L2 for each example (n,), by its progress in [0, 1]."""
        if not isinstance(threat, L2):
            return 2
        return self.rel_step_size * (1 + torch.cos(math.pi * progress)) / 2
