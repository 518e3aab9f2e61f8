"""The one-pixel attack: differential evolution, or every pixel in turn where that is cheaper."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from quintain.attacks.base import Attack
from quintain.attacks.counted_model import MAX_BATCH
from quintain.attacks.score_based.windows import image_dims
from quintain.attacks.search import Search
from quintain.core.errors import SettingError
from quintain.models.protocol import Access
from quintain.threats.rng import ExampleRNG
from quintain.threats.rounding import representable_box

MIN_GENERATIONS = 20
"""For how many generations a budget must last, the first included; else there are fewer candidates."""

POINTS_PER_CHECK = 64
"""How many points of an example are queried before it is checked whether one breaks it."""

Points = Callable[[Tensor, Tensor], Tensor]
"""The points (q, *S) of (places among the rows (q,), numbers of the points (q,))."""


@dataclass(frozen=True, slots=True)
class OnePixel(Attack):
    r"""A few pixels of any color, found by differential evolution, or by trying all of them.

    .. math::
        c_i' = c_{r_1} + F (c_{r_2} - c_{r_3}), \qquad
        c_i \leftarrow c_i' \text{ where } m(f(x \oplus c_i')) > m(f(x \oplus c_i))

    where a candidate :math:`c` holds the places and colors of ``eps`` pixels, and :math:`r_1, r_2, r_3` are
    chosen by chance. If exhaustive search needs no more queries than differential evolution and fits the
    budget, every pixel is tried at every corner of the color cube instead, in random order. Several pixels
    are chosen greedily, one after the other. For one pixel and a model that is monotone in each of its
    channels, exhaustive search is exact.

    Args:
        population: How many candidates; fewer where the budget would end before 20 generations.
        generations: How often each is changed.
        differential_weight: F, how far a change goes.

    Raises:
        SettingError: If a number is out of range.

    Guarantee:
        Each success is allowed by the threat (float64, no tolerance) and was confirmed by a second forward
        pass on the stored point. A failure does not show robustness.

    Source: Su et al., 2019, arXiv:1710.08864.
    """

    name: ClassVar[str] = "one-pixel"
    summary: ClassVar[str] = "a pixel or a few, by trying all of them or by differential evolution"
    use_for: ClassVar[str] = "one pixel or a few; on small gray images every one of them is tried"
    cost: ClassVar[str] = (
        "{population} queries, and as many for each of {generations}; or two a gray pixel, where that is less"
    )
    access: ClassVar[Access] = "scores"
    min_queries: ClassVar[int] = 2000
    ends_exhausted: ClassVar[bool] = True
    supports: ClassVar[tuple[str, ...]] = ("l0",)
    test_settings: ClassVar = {"population": 12, "generations": 5}

    population: int = 400
    generations: int = 100
    differential_weight: float = 0.5

    def __post_init__(self) -> None:
        if self.population < 4 or self.generations < 0:
            raise SettingError(
                f"population = {self.population}, generations = {self.generations}; expected at least 4 "
                "candidates, and no fewer than 0"
            )
        if not 0 < self.differential_weight < math.inf:
            raise SettingError(
                f"differential_weight = {self.differential_weight}; expected a positive number, such as 0.5"
            )

    def run(self, search: Search) -> None:
        """Run exhaustive search where it is cheaper, else differential evolution."""
        channels, height, width = image_dims(search.x.shape[1:])
        pixels, rows = min(int(search.threat.eps), height * width), search.active_rows
        if not (pixels and len(rows)):
            return
        cost, affordable = (
            pixels * height * width * 2**channels,
            int(search.model.queries_left(rows).amax()) - 1,
        )
        # exhaustive search if it costs no more than evolution and fits the budget; else 20 generations must
        # fit
        if cost <= self.population * (self.generations + 1) and (pixels == 1 or cost <= affordable):
            for pixel in range(pixels):
                _enumerate(search, search.rng.fold_in("order", pixel))
        else:
            generations = min(self.generations + 1, MIN_GENERATIONS)
            self._evolve(search, pixels, min(self.population, max(4, affordable // generations)))

    def _evolve(self, search: Search, pixels: int, population: int) -> None:
        rows = search.active_rows
        channels = image_dims(search.x.shape[1:])[0]
        init_rng = search.rng.fold_in("first").select(rows)
        shape = (len(rows), population, pixels)
        positions = init_rng.uniform(torch.empty(*shape, 2, device=rows.device))
        colors = (128 + 127 * init_rng.normal(torch.empty(*shape, channels, device=rows.device))) / 255
        candidates = torch.cat((positions, colors), 3).clamp(0, 1)
        margins = self._evaluate(search, rows, candidates)
        for generation in range(self.generations):
            active = search.is_active(rows)
            rows, candidates, margins = rows[active], candidates[active], margins[active]
            if not len(rows):
                return
            first, second, third = (
                candidates.gather(1, parent[..., None, None].expand_as(candidates))
                for parent in parents(
                    search.rng.fold_in("parents", generation).select(rows), population, rows
                )
            )
            # DE/rand/1: child = c_1 + F (c_2 - c_3), which replaces its parent if its margin is larger
            children = (first + self.differential_weight * (second - third)).clamp(0, 1)
            child_margins = self._evaluate(search, rows, children)
            better = child_margins > margins
            candidates, margins = (
                torch.where(better[..., None, None], children, candidates),
                torch.where(better, child_margins, margins),
            )

    def _evaluate(self, search: Search, rows: Tensor, candidates: Tensor) -> Tensor:
        clean, box = search.x[rows], (search.threat.low, search.threat.high)
        to_query = torch.ones(candidates.shape[:2], dtype=torch.bool, device=rows.device)
        return query_all(
            search,
            rows,
            to_query,
            lambda example, index: paint_pixels(clean[example], candidates[example, index], box),
        )


def paint_pixels(x: Tensor, candidates: Tensor, box: tuple[float, float]) -> Tensor:
    """Return images (q, *S) with k pixels put on, one after another.

    Args:
        x: Images (q, *S).
        candidates: In [0, 1] (q, k, 2 + C): how far down and how far right each pixel is, and its color as
            fractions of the box.
        box: The data box.
    """
    channels, height, width = image_dims(x.shape[1:])
    z, (low, high) = x.reshape(len(x), channels, -1).clone(), box
    down, right = (
        (candidates[:, :, axis] * side).long().clamp(max=side - 1) for axis, side in ((0, height), (1, width))
    )
    where = (down * width + right)[:, :, None, None].expand(-1, -1, channels, -1)
    colors = (
        (low + (high - low) * candidates[..., 2:, None])
        .to(x.dtype)
        .clamp(*representable_box(low, high, x.dtype))
    )
    for pixel in range(candidates.shape[1]):
        z.scatter_(2, where[:, pixel], colors[:, pixel])
    return z.view_as(x)


def parents(rng: ExampleRNG, population: int, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return three different candidates for each candidate (n, population)."""
    uniforms = rng.uniform(torch.empty(len(rows), population, 3, device=rows.device))
    # three distinct indices without rejection: draw from P, P - 1 and P - 2 values, shift past those taken
    one, two, three = (
        (uniforms[..., index] * (population - index)).long().clamp(max=population - index - 1)
        for index in range(3)
    )
    two = two + (two >= one)
    least, most = torch.minimum(one, two), torch.maximum(one, two)
    three = three + (three >= least)
    return one, two, three + (three >= most)


def _enumerate(search: Search, rng: ExampleRNG) -> None:
    """Try each change of one more pixel of the best points so far, in random order."""
    rows, threat = search.active_rows, search.threat
    if not len(rows):
        return
    channels = image_dims(search.x.shape[1:])[0]
    z = search.best[rows].reshape(len(rows), channels, -1)
    pixels = z.shape[2]
    least, most = representable_box(threat.low, threat.high, z.dtype)
    # all 2^C corner colors; candidates that would change nothing are sorted last and not queried
    bits = (
        torch.arange(2**channels, device=rows.device)[:, None] >> torch.arange(channels, device=rows.device)
        & 1
    )
    corners = torch.where(bits > 0, most, least).to(z.dtype)
    unchanged = (z[:, None] == corners[:, :, None]).all(2).flatten(1)
    uniforms = rng.select(rows).uniform(torch.empty(unchanged.shape, device=rows.device))
    order = (uniforms + 2 * unchanged).argsort(dim=1, stable=True)
    to_query = torch.arange(unchanged.shape[1], device=rows.device) < (~unchanged).sum(1, keepdim=True)

    def points(example: Tensor, index: Tensor) -> Tensor:
        corner, pixel = (
            order[example, index].div(pixels, rounding_mode="floor"),
            order[example, index] % pixels,
        )
        where = pixel[:, None, None].expand(-1, channels, 1)
        return z[example].scatter(2, where, corners[corner][..., None]).view(-1, *search.x.shape[1:])

    query_all(search, rows, to_query, points)


def query_all(search: Search, rows: Tensor, to_query: Tensor, points: Points) -> Tensor:
    """Return margins (n, m) of m allowed points of each example, minus infinity where not queried.

    The best ones are confirmed.

    Args:
        search: Runs the model, checks success and keeps each example's best point.
        rows: The examples (n,).
        to_query: Which points to query (n, m), from the first on; an example pays for each, as far as it
            can.
        points: Makes them.
    """
    margins = torch.full(to_query.shape, -torch.inf, dtype=search.best_margin.dtype, device=rows.device)
    for first in range(0, to_query.shape[1], POINTS_PER_CHECK):
        affordable = to_query[:, first : first + POINTS_PER_CHECK] & search.is_active(rows)[:, None]
        # the prefix of the points that the budget pays, with one query left to confirm
        affordable &= affordable.cumsum(1) < search.model.queries_left(rows)[:, None]
        queried_rows = affordable.any(1).nonzero().squeeze(1)
        if not len(queried_rows):
            continue
        logits = search.clean_logits.new_zeros(*affordable.shape, search.clean_logits.shape[1])
        for example, index in zip(
            *(part.split(MAX_BATCH) for part in affordable.nonzero(as_tuple=True)), strict=True
        ):
            logits[example, index] = search.probe_in_parts(points(example, index + first), rows[example])
            margins[example, index + first] = search.goal.margin(logits[example, index], rows[example]).to(
                margins.dtype
            )
        best_index = margins[queried_rows, first : first + POINTS_PER_CHECK].argmax(1)
        search.keep_best(
            points(queried_rows, best_index + first), rows[queried_rows], logits[queried_rows, best_index]
        )
    return margins
