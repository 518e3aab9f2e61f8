"""The one-pixel attack: differential evolution, or every pixel in turn where that is cheaper."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from quintain.attacks.method import Method
from quintain.attacks.scores.crowd import ask_all
from quintain.attacks.scores.window import planes
from quintain.attacks.search import Search
from quintain.core.errors import SettingError
from quintain.models.protocol import Access
from quintain.threats.draw import Draw
from quintain.threats.rounding import box_inside

FEWEST = 20
"""For how many generations a budget must last, the first included; else there are fewer candidates."""


@dataclass(frozen=True, slots=True)
class OnePixel(Method):
    r"""A few pixels of any colour, found by differential evolution, or by trying all of them.

    .. math:: c_i' = c_{r_1} + F (c_{r_2} - c_{r_3}), \qquad c_i \leftarrow c_i' \text{ where } m(f(x \oplus c_i')) > m(f(x \oplus c_i))

    where a candidate :math:`c` holds the places and colours of ``eps`` pixels, and :math:`r_1, r_2, r_3` are chosen by chance. Where
    it asks no more questions, and the budget pays for it, every pixel is tried at every corner of the colour cube instead, in random
    order, and the best is kept before the next pixel is sought: for one pixel of a model that is monotone in it nothing is missed.

    Args:
        population: How many candidates; fewer where the budget would end before 20 generations.
        generations: How often each is changed.
        weight: F, how far a change goes.

    Raises:
        SettingError: If a number is out of range.

    Guarantee:
        What it calls broken is inside the threat and was answered wrongly twice; what it does not break may still be breakable.

    Source: Su et al., 2019, arXiv:1710.08864.
    """

    name: ClassVar[str] = "one-pixel"
    access: ClassVar[Access] = "scores"
    serves: ClassVar[tuple[str, ...]] = ("l0",)

    population: int = 400
    generations: int = 100
    weight: float = 0.5

    def __post_init__(self) -> None:
        if self.population < 4 or self.generations < 0:
            raise SettingError(
                f"population = {self.population}, generations = {self.generations}; expected at least 4 candidates, and no fewer than 0"
            )
        if not 0 < self.weight < math.inf:
            raise SettingError(f"weight = {self.weight}; expected a positive number, such as 0.5")

    def pursue(self, search: Search) -> None:
        """Enumerate where that is cheaper, else evolve."""
        channels, height, width = planes(search.x.shape[1:])
        pixels, rows = min(int(search.threat.eps), height * width), search.rows
        if not (pixels and len(rows)):
            return
        price, payable = pixels * height * width * 2**channels, int(search.meter.left(rows).amax()) - 1
        if price <= self.population * (self.generations + 1) and (pixels == 1 or price <= payable):
            for pixel in range(pixels):
                _enumerate(search, search.draw.at("order", pixel))
        else:
            turns = min(self.generations + 1, FEWEST)
            self._evolve(search, pixels, min(self.population, max(4, payable // turns)))

    def _evolve(self, search: Search, pixels: int, population: int) -> None:
        rows = search.rows
        channels = planes(search.x.shape[1:])[0]
        stream = search.draw.at("first").of(rows)
        shape = (len(rows), population, pixels)
        places = stream.uniform(torch.empty(*shape, 2, device=rows.device))
        colours = (128 + 127 * stream.normal(torch.empty(*shape, channels, device=rows.device))) / 255
        genes = torch.cat((places, colours), 3).clamp(0, 1)
        heights = self._tried(search, rows, genes)
        for generation in range(self.generations):
            still = search.standing(rows)
            rows, genes, heights = rows[still], genes[still], heights[still]
            if not len(rows):
                return
            first, second, third = (
                genes.gather(1, parent[..., None, None].expand_as(genes))
                for parent in parents(search.draw.at("parents", generation).of(rows), population, rows)
            )
            children = (first + self.weight * (second - third)).clamp(0, 1)
            offspring = self._tried(search, rows, children)
            better = offspring > heights
            genes, heights = torch.where(better[..., None, None], children, genes), torch.where(better, offspring, heights)

    def _tried(self, search: Search, rows: Tensor, genes: Tensor) -> Tensor:
        clean, box = search.x[rows], (search.threat.low, search.threat.high)
        live = torch.ones(genes.shape[:2], dtype=torch.bool, device=rows.device)
        return ask_all(search, rows, live, lambda example, turn: painted(clean[example], genes[example, turn], box))


def painted(x: Tensor, genes: Tensor, box: tuple[float, float]) -> Tensor:
    """Images (q, *S) with k pixels put on, one after another.

    Args:
        x: Images (q, *S).
        genes: In [0, 1] (q, k, 2 + C): how far down and how far right each pixel is, and its colour as shares of the box.
        box: The data box.
    """
    channels, height, width = planes(x.shape[1:])
    z, (low, high) = x.reshape(len(x), channels, -1).clone(), box
    down, right = ((genes[:, :, axis] * side).long().clamp(max=side - 1) for axis, side in ((0, height), (1, width)))
    where = (down * width + right)[:, :, None, None].expand(-1, -1, channels, -1)
    colours = (low + (high - low) * genes[..., 2:, None]).to(x.dtype).clamp(*box_inside(low, high, x.dtype))
    for pixel in range(genes.shape[1]):
        z.scatter_(2, where[:, pixel], colours[:, pixel])
    return z.view_as(x)


def parents(draw: Draw, population: int, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Three different candidates for each candidate (n, population)."""
    luck = draw.uniform(torch.empty(len(rows), population, 3, device=rows.device))
    one, two, three = ((luck[..., turn] * (population - turn)).long().clamp(max=population - turn - 1) for turn in range(3))
    two = two + (two >= one)
    least, most = torch.minimum(one, two), torch.maximum(one, two)
    three = three + (three >= least)
    return one, two, three + (three >= most)


def _enumerate(search: Search, draw: Draw) -> None:
    """Try each change of one more pixel of the best points so far, in random order."""
    rows, threat = search.rows, search.threat
    if not len(rows):
        return
    channels = planes(search.x.shape[1:])[0]
    z = search.best[rows].reshape(len(rows), channels, -1)
    pixels = z.shape[2]
    least, most = box_inside(threat.low, threat.high, z.dtype)
    bits = torch.arange(2**channels, device=rows.device)[:, None] >> torch.arange(channels, device=rows.device) & 1
    corners = torch.where(bits > 0, most, least).to(z.dtype)
    idle = (z[:, None] == corners[:, :, None]).all(2).flatten(1)
    luck = draw.of(rows).uniform(torch.empty(idle.shape, device=rows.device))
    order = (luck + 2 * idle).argsort(dim=1, stable=True)
    live = torch.arange(idle.shape[1], device=rows.device) < (~idle).sum(1, keepdim=True)

    def points(example: Tensor, turn: Tensor) -> Tensor:
        corner, pixel = order[example, turn].div(pixels, rounding_mode="floor"), order[example, turn] % pixels
        where = pixel[:, None, None].expand(-1, channels, 1)
        return z[example].scatter(2, where, corners[corner][..., None]).view(-1, *search.x.shape[1:])

    ask_all(search, rows, live, points)
