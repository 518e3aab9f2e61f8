"""The shared parts of decision-based attacks: a first point, binary search, an estimate of the normal."""

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
"""A path for each example from an adversarial point (t = 0) to its clean input (t = 1).

Called with t (m,) in [0, 1] and example indices (m,); returns the points (m, *S).
"""

Noise = Callable[[ExampleRNG, Tensor], Tensor]
"""Random numbers of the shape of a tensor (n, k, *S), from the streams of its n examples."""

LABELS_SHOW_NO_FAR_REGION = {
    "the smallest change in a wide ball": (
        "labels say nothing of a far region that no noise meets: random points must find it first"
    )
}
"""The law that no attack on labels keeps, and why."""

NOISE_BLOCK = 16  # noises drawn at a time
MAX_PROBE_NUMEL = 2**20  # numbers of one example's probes in memory at a time
MAX_QUERY_NUMEL = 2**24  # numbers of all probes in memory at a time
CPU_QUERY_NUMEL = 2**19  # the same for a net on the CPU, whose caches hold no more
CPU_BATCH_NUMEL, CPU_BATCH_MIN = 2**15, 16  # numbers, and at least so many points, in one call of such a net


def check_queries(queries: int) -> None:
    """Raise if the queries do not suffice for one probe.

    Raises:
        SettingError: If it is below 2.
    """
    if queries < 2:
        raise SettingError(
            f"queries = {queries}; expected at least 2, one for the unchanged input and one more"
        )


def segment_path(z: Tensor, x: Tensor) -> Path:
    """Return the segments from ``z`` to ``x``."""
    return lambda t, index: torch.lerp(z[index], x[index], expand_rows(t.to(x.dtype), x))


@dataclass(frozen=True, slots=True, eq=False)
class DecisionBoundary:
    """The decision boundary of a model, queried within a budget.

    Only whether a point is adversarial is ever used.

    Args:
        search: Runs the model, checks success and keeps each example's best point.
        queries: Most forward passes for an example, for the clean input and the confirmation included.
        early_stop: Stop an example at its first success within the threat.
    """

    search: Search
    queries: int
    early_stop: bool = False

    def __post_init__(self) -> None:
        most = self.search.model.max_queries
        self.search.half_queries = (self.queries if most is None else min(self.queries, most)) // 2

    @property
    def box(self) -> tuple[float, float]:
        """The least and the greatest value of a point."""
        return representable_box(self.search.threat.low, self.search.threat.high, self.search.x.dtype)

    @property
    def _is_cpu_net(self) -> bool:
        """Whether the queries are forward passes on this CPU, and not calls of a black box or a device."""
        access = getattr(self.search.model.wrapped, "access", "gradients")
        return access == "gradients" and self.search.x.device.type == "cpu"

    def queries_left(self, rows: Tensor) -> Tensor:
        """Return the queries left for each of ``rows`` beside the confirmation (n,); 0 where it is done."""
        search = self.search
        # the smaller of the own budget and the caller's, minus the confirming pass
        own = (self.queries - search.model.forwards[rows]) // search.model.queries_per_call
        active = search.is_active(rows)
        if self.early_stop:
            active = active & (search.best_size[rows] > search.threat.eps)
        return torch.where(active, torch.minimum(own, search.model.queries_left(rows)) - 1, 0).clamp(min=0)

    def is_adversarial(self, z: Tensor, rows: Tensor) -> Tensor:
        """Whether each point (n, *S) is adversarial (n,), at any distance.

        A NaN output is recorded as an error only at points within eps: starting noise lies far outside the
        threat, and NaN there says nothing about the threat.
        """
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
        """Return the rows (m,) for which random noise is adversarial, and the first such noise (m, *S).

        Each example gets ``init_tries`` tries with uniform noise. Every second try repeats one value over
        squares whose side is a power of two: a net that predicts one class for all fine noise often predicts
        another for such patches.
        """
        search = self.search
        low, high = self.box
        points, found = search.x[rows].clone(), torch.zeros_like(rows, dtype=torch.bool)
        active = torch.arange(len(rows), device=rows.device)
        for iteration in range(init_tries):
            active = active[self.queries_left(rows[active]) > 0]
            if not len(active):
                break
            # noise for 16 tries at once; odd tries repeat one value over squares of side 2, 4, 8, ...
            if iteration % NOISE_BLOCK == 0:
                empty = search.x.new_empty(len(rows), NOISE_BLOCK, *search.x.shape[1:])
                block = search.rng.fold_in("start", iteration // NOISE_BLOCK).select(rows).uniform(empty)
            noise = low + (high - low) * coarsen(block[active, iteration % NOISE_BLOCK], iteration)
            hit = self.is_adversarial(noise.clamp(low, high), rows[active])
            points[active[hit]], found[active[hit]] = noise.clamp(low, high)[hit], True
            active = active[~hit]
        return rows[found], points[found]

    def binary_search(self, path: Path, rows: Tensor, tolerance: float) -> Tensor:
        """Return the last adversarial point (n, *S) before each path's boundary.

        It is found by bisection to a relative tolerance.

        It ends where floating point does: a midpoint equal to one of its ends costs no query.
        """
        active = torch.arange(len(rows), device=rows.device)
        # Bisection in t: near is the last adversarial point, far the last one that is not. It stops where the
        # midpoint equals an end in floating point, or right - left <= tolerance * (1 - left).
        left = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
        right = torch.ones_like(left)
        near, far = path(left, active), path(right, active)
        while len(active):
            t = (left[active] + right[active]) / 2
            z = path(t, active)
            unresolved = (
                rows_differ(z, near[active])
                & rows_differ(z, far[active])
                & (right[active] - left[active] > tolerance * (1 - left[active]))
            )
            unresolved &= self.queries_left(rows[active]) > 0
            active, t, z = active[unresolved], t[unresolved], z[unresolved]
            if len(active):
                hit = self.is_adversarial(z, rows[active])
                left[active[hit]], near[active[hit]] = t[hit], z[hit]
                right[active[~hit]], far[active[~hit]] = t[~hit], z[~hit]
        return near

    def estimate_normal(
        self, z: Tensor, rows: Tensor, radius: Tensor, probes: int, rng: ExampleRNG, noise: Noise
    ) -> Tensor:
        r"""Estimate directions (n, *S) into the adversarial region at points ``z`` near the boundary.

        The estimate comes from the labels of points around ``z``.

        .. math::
            g = \sum_i (\phi_i - \bar\phi) u_i, \quad u_i = \frac{clip(z + r\, v_i / \|v_i\|_2) - z}{r}, \quad
            \phi_i = \pm 1

        with :math:`\pm \sum_i u_i` where all labels agree. Everything is normalized within the example.

        Args:
            z: Points (n, *S).
            rows: Whose they are (n,).
            radius: Of the probes (n,).
            probes: Probes per example; at most half of what it has left.
            rng: Streams of the whole batch, of this call alone.
            noise: The law of the directions.
        """
        # chunk: probes of one example at a time; slab: examples at a time. Both bound memory and change no
        # number.
        features = z[0].numel()
        chunk = min(probes, max(1, MAX_PROBE_NUMEL // features))
        in_memory = min(MAX_QUERY_NUMEL, CPU_QUERY_NUMEL) if self._is_cpu_net else MAX_QUERY_NUMEL
        slab = max(1, in_memory // (chunk * features))
        counts = (self.queries_left(rows) // 2).clamp(max=probes)
        pieces = range(0, len(rows), slab)
        cuts = [
            (z[a : a + slab], rows[a : a + slab], radius[a : a + slab], counts[a : a + slab]) for a in pieces
        ]
        return torch.cat(
            [self._probe_labels(*cut, count=probes, chunk=chunk, rng=rng, noise=noise) for cut in cuts]
        )

    def _probe_labels(
        self,
        z: Tensor,
        rows: Tensor,
        radius: Tensor,
        counts: Tensor,
        *,
        count: int,
        chunk: int,
        rng: ExampleRNG,
        noise: Noise,
    ) -> Tensor:
        low, high = self.box
        total, toward = torch.zeros_like(z), torch.zeros_like(z)
        successes = torch.zeros_like(counts)
        for iteration, first in enumerate(range(0, count, chunk)):
            v = noise(rng.fold_in(iteration).select(rows), z.new_empty(len(z), chunk, *z.shape[1:])).flatten(
                2
            )
            # unit directions, clipped to the box: u_i is what is left of the step, divided by the radius
            v /= torch.linalg.vector_norm(v, dim=2, keepdim=True).clamp(min=torch.finfo(v.dtype).tiny)
            step = expand_rows(radius.to(v.dtype), v)
            here = z.flatten(1)[:, None]
            probes = v.mul_(step).add_(here).clamp_(low, high)
            # examples with fewer queries left use only their first probes
            probed = torch.arange(first, first + chunk, device=z.device) < counts[:, None]
            owner, _ = probed.nonzero(as_tuple=True)
            if not len(owner):
                break
            hits = torch.zeros_like(probed)
            hits[probed] = self._are_adversarial(probes[probed].view(-1, *z.shape[1:]), rows[owner])
            moved = probes.sub_(here).div_(step).masked_fill_(~probed[..., None], 0)
            total += moved.sum(1).view_as(z)
            toward += moved.masked_fill_(~hits[..., None], 0).sum(1).view_as(z)
            successes += hits.sum(1)
        # sum_i (phi_i - mean phi) u_i = 2 (sum over adversarial u_i - p sum_i u_i), p the fraction of
        # adversarial probes; if all labels agree, it is +-sum_i u_i (the direction with baseline of
        # HopSkipJump)
        success_rate = expand_rows((successes / counts.clamp(min=1)).to(z.dtype), z)
        agreed = (successes == 0) | (successes == counts)
        return torch.where(
            expand_rows(agreed, z), (2 * success_rate - 1) * total, 2 * (toward - success_rate * total)
        )

    def _are_adversarial(self, z: Tensor, rows: Tensor) -> Tensor:
        """Whether each probe (n, *S) is adversarial (n,); the probes of all examples share batches."""
        search = self.search
        size = max(CPU_BATCH_MIN, CPU_BATCH_NUMEL // z[0].numel()) if self._is_cpu_net else len(z)
        return torch.cat(
            [
                search.goal.is_adversarial(search.probe_in_parts(points, owners), owners)
                for points, owners in zip(z.split(size), rows.split(size), strict=True)
            ]
        )


def coarsen(noise: Tensor, attempt: int) -> Tensor:
    """Return noise (n, *S) unchanged at even attempts, and coarser at odd ones.

    There images repeat one value over squares of side 2, 4, 8, ...; after the largest that fits the image, 2
    comes again.
    """
    if attempt % 2 == 0 or noise.dim() < 4:
        return noise
    # sides 2, 4, ..., 2^k with 2^k at most the image's shorter side, in turn
    num_sides = max(1, min(noise.shape[-2:]).bit_length() - 1)
    side = 2 ** (1 + attempt // 2 % num_sides)
    rows, columns = (torch.arange(size, device=noise.device) // side for size in noise.shape[-2:])
    return noise[..., rows[:, None], columns]
