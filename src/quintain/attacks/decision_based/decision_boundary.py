"""What attacks that see labels alone share: a start, the boundary on a path, and the boundary's normal by votes."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from quintain.attacks.search import Search
from quintain.core.errors import SettingError
from quintain.threats.broadcast import expand_rows, rows_differ
from quintain.threats.rng import ExampleRNG
from quintain.threats.rounding import representable_box

Path = Callable[[Tensor, Tensor], Tensor]
"""Points (m, *S) at shares (m,) of the way, for places (m,) among the rows that the path was made for; 0 is broken, 1 is not."""

Noise = Callable[[ExampleRNG, Tensor], Tensor]
"""Random numbers of the shape of a tensor (n, k, *S), from the streams of its n examples."""

NOISE_BLOCK = 16  # noises drawn at a time
MAX_PROBE_NUMEL = 2**20  # numbers of one example's probes in memory at a time
MAX_QUERY_NUMEL = 2**24  # numbers of all probes in one question


def check_queries(queries: int) -> None:
    """Refuse a budget that pays nothing.

    Raises:
        SettingError: If it is below 2.
    """
    if queries < 2:
        raise SettingError(f"queries = {queries}; expected at least 2, one for the unchanged input and one more")


def segment_path(z: Tensor, x: Tensor) -> Path:
    """The segments from ``z`` to ``x``."""
    return lambda t, index: torch.lerp(z[index], x[index], expand_rows(t.to(x.dtype), x))


@dataclass(frozen=True, slots=True, eq=False)
class DecisionBoundary:
    """Labels asked of a search, within a budget: only whether the goal is reached is ever used.

    Args:
        search: Asks, judges and keeps.
        queries: How often an example may be asked about, the unchanged input and the final check included.
        early_stop: Whether an example is done once a change within the threat is found.
    """

    search: Search
    queries: int
    early_stop: bool = False

    @property
    def box(self) -> tuple[float, float]:
        """The least and the greatest value of a point."""
        return representable_box(self.search.threat.low, self.search.threat.high, self.search.x.dtype)

    def queries_left(self, rows: Tensor) -> Tensor:
        """How many questions each of ``rows`` may still ask beside the final check (n,); none where it is done."""
        search = self.search
        own = (self.queries - search.model.forwards[rows]) // search.model.queries_per_call
        active = search.is_active(rows)
        if self.early_stop:
            active = active & (search.best_size[rows] > search.threat.eps)
        return torch.where(active, torch.minimum(own, search.model.queries_left(rows)) - 1, 0).clamp(min=0)

    def is_adversarial(self, z: Tensor, rows: Tensor) -> Tensor:
        """Whether each point (n, *S) reaches the goal (n,); NaN counts as an error within the threat alone, since noise is far outside."""
        search = self.search
        logits = search.probe(z, rows)
        adversarial = search.goal.is_adversarial(logits, rows)
        is_nan = logits.isnan().any(1)
        if is_nan.any():
            is_nan &= search.threat.measure(z, search.x[rows]) <= search.threat.eps
        recorded = adversarial | is_nan
        search.keep_best(z[recorded], rows[recorded], logits[recorded])
        return adversarial

    def initial_points(self, rows: Tensor, init_tries: int) -> tuple[Tensor, Tensor]:
        """The first broken of ``init_tries`` uniform noises of the box: the rows that have one (m,), and it (m, *S).

        Every second noise is drawn on a coarser grid of its own, as wide as a power of two: a net that
            answers fine noise always in
        one way often does not answer patches so.
        """
        search = self.search
        low, high = self.box
        points, found = search.x[rows].clone(), torch.zeros_like(rows, dtype=torch.bool)
        active = torch.arange(len(rows), device=rows.device)
        for iteration in range(init_tries):
            active = active[self.queries_left(rows[active]) > 0]
            if not len(active):
                break
            if iteration % NOISE_BLOCK == 0:
                empty = search.x.new_empty(len(rows), NOISE_BLOCK, *search.x.shape[1:])
                block = search.rng.fold_in("start", iteration // NOISE_BLOCK).select(rows).uniform(empty)
            noise = low + (high - low) * coarsen(block[active, iteration % NOISE_BLOCK], iteration)
            hit = self.is_adversarial(noise.clamp(low, high), rows[active])
            points[active[hit]], found[active[hit]] = noise.clamp(low, high)[hit], True
            active = active[~hit]
        return rows[found], points[found]

    def binary_search(self, path: Path, rows: Tensor, tolerance: float) -> Tensor:
        """The last broken point (n, *S) before each path's boundary, by bisection down to ``tolerance`` of the way left.

        It ends where floating point does: a midpoint equal to one of its ends asks nothing more.
        """
        active = torch.arange(len(rows), device=rows.device)
        left = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
        right = torch.ones_like(left)
        near, far = path(left, active), path(right, active)
        while len(active):
            t = (left[active] + right[active]) / 2
            z = path(t, active)
            unresolved = (
                rows_differ(z, near[active]) & rows_differ(z, far[active]) & (right[active] - left[active] > tolerance * (1 - left[active]))
            )
            unresolved &= self.queries_left(rows[active]) > 0
            active, t, z = active[unresolved], t[unresolved], z[unresolved]
            if len(active):
                hit = self.is_adversarial(z, rows[active])
                left[active[hit]], near[active[hit]] = t[hit], z[hit]
                right[active[~hit]], far[active[~hit]] = t[~hit], z[~hit]
        return near

    def estimate_normal(self, z: Tensor, rows: Tensor, radius: Tensor, probes: int, rng: ExampleRNG, noise: Noise) -> Tensor:
        r"""Directions (n, *S) towards more breaks at points ``z`` near the boundary, from the labels around them.

        .. math:: g = \sum_i (\phi_i - \bar\phi) u_i, \quad u_i = \frac{clip(z + r\, v_i / \|v_i\|_2) - z}{r}, \quad \phi_i = \pm 1

        with :math:`\pm \sum_i u_i` where all labels agree. Everything is normalized within the example.

        Args:
            z: Points (n, *S).
            rows: Whose they are (n,).
            radius: Of the probes (n,).
            probes: Probes per example; at most half of what it has left.
            rng: Streams of the whole batch, of this call alone.
            noise: The law of the directions.
        """
        features = z[0].numel()
        chunk = min(probes, max(1, MAX_PROBE_NUMEL // features))
        slab = max(1, MAX_QUERY_NUMEL // (chunk * features))
        counts = (self.queries_left(rows) // 2).clamp(max=probes)
        pieces = range(0, len(rows), slab)
        cuts = [(z[a : a + slab], rows[a : a + slab], radius[a : a + slab], counts[a : a + slab]) for a in pieces]
        return torch.cat([self._probe_labels(*cut, count=probes, chunk=chunk, rng=rng, noise=noise) for cut in cuts])

    def _probe_labels(
        self, z: Tensor, rows: Tensor, radius: Tensor, counts: Tensor, *, count: int, chunk: int, rng: ExampleRNG, noise: Noise
    ) -> Tensor:
        low, high = self.box
        total, toward = torch.zeros_like(z), torch.zeros_like(z)
        successes = torch.zeros_like(counts)
        for iteration, first in enumerate(range(0, count, chunk)):
            v = noise(rng.fold_in(iteration).select(rows), z.new_empty(len(z), chunk, *z.shape[1:])).flatten(2)
            v = v / torch.linalg.vector_norm(v, dim=2, keepdim=True).clamp(min=torch.finfo(v.dtype).tiny)
            step = expand_rows(radius.to(v.dtype), v)
            here = z.flatten(1)[:, None]
            probes = (here + step * v).clamp(low, high)
            probed = torch.arange(first, first + chunk, device=z.device) < counts[:, None]
            owner, _ = probed.nonzero(as_tuple=True)
            if not len(owner):
                break
            logits = self.search.probe(probes[probed].view(-1, *z.shape[1:]), rows[owner])
            hits = torch.zeros_like(probed)
            hits[probed] = self.search.goal.is_adversarial(logits, rows[owner])
            moved = torch.where(probed[..., None], (probes - here) / step, 0)
            total += moved.sum(1).view_as(z)
            toward += torch.where(hits[..., None], moved, 0).sum(1).view_as(z)
            successes += hits.sum(1)
        success_rate = expand_rows((successes / counts.clamp(min=1)).to(z.dtype), z)
        agreed = (successes == 0) | (successes == counts)
        return torch.where(expand_rows(agreed, z), (2 * success_rate - 1) * total, 2 * (toward - success_rate * total))


def coarsen(noise: Tensor, attempt: int) -> Tensor:
    """Noise (n, *S) as it is at even turns; at odd ones, images repeat one value over squares whose side grows with the turn."""
    if attempt % 2 == 0 or noise.dim() < 4:
        return noise
    side = 2 ** (1 + attempt // 2 % max(1, int(math.log2(min(noise.shape[-2:]))) if min(noise.shape[-2:]) > 1 else 1))
    rows, columns = (torch.arange(size, device=noise.device) // side for size in noise.shape[-2:])
    return noise[..., rows[:, None], columns]
