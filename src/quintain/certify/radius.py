"""The largest radius that a certifier can prove, example by example."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from quintain.certify.outcome import CertificateOutcome, Certifier, Reader
from quintain.models.protocol import ClassifierLike
from quintain.threats.l2 import L2
from quintain.threats.threat import Threat, check_types

GRID = 128
"""Radii looked at between one and its double, each 0.54 % above the one before."""

RANGE = 2.0**16
"""How many times smaller than the threat a radius is still looked for."""

SMALLEST = 2.0**-126
"""The smallest threat for which that is done: the smallest normal number of float32."""


def largest_radius(
    certifier: Certifier, model: ClassifierLike, x: Tensor, y: Tensor, threat: Threat, *, sizes: Sequence[float] = ()
) -> CertificateOutcome:
    r"""The largest eps *proven* for each example.

    The threat's own radius and ``sizes`` are decided by certificates at exactly these, where what lies around them leaves them open; the
    other radii are :math:`2^{k / 128}`. The next one to ask is where the margins at both ends of what is open put the zero, so that an
    example takes about seven certificates; one that is not proven as it is takes one.

    Guarantee: every radius was proven as it stands, whether or not the certifier is monotone. If it is, one at most 0.6 % larger was
    refused, or lies outside the box; radii below a 65,536th of the threat's are not looked for. How a batch is cut changes a radius only
    where the certifier's verdict at it does: a margin that is zero but for rounding.

    Args:
        certifier: Takes one eps per example.
        model, x, y: As for the certifier.
        threat: Kind, box and first radius.
        sizes: Other radii to decide exactly.

    Returns:
        The outcome for the examples as they are, with ``radius``: 0 where none is proven, as for examples that are wrong.
    """
    check_types(threat, x)
    search = _Search(certifier, model, x, y, threat, max(sizes, default=0.0))
    search.decide(threat.eps)
    turn = 0
    while len(rows := search.open()):
        turn += 1
        search.narrow(rows, halve=turn % 3 == 0)
    for size in sorted(sizes):
        search.decide(size)
    return replace(search.clean, radius=search.size[0], cost=search.cost)


class _Search:
    """The two ends of what is open, (2, B): proven in row 0, refused in row 1; their sizes, margins and places on the grid."""

    def __init__(self, certifier: Certifier, model: ClassifierLike, x: Tensor, y: Tensor, threat: Threat, largest: float) -> None:
        certify = certifier.read(model) if isinstance(certifier, Reader) else partial(certifier, model)
        self.certify = lambda rows, eps: certify(x[rows], y[rows], threat, eps=eps)
        ceiling = (threat.high - threat.low) * (math.sqrt(x.shape[1:].numel()) if isinstance(threat, L2) else 1.0)
        first, last = max(threat.eps or ceiling / 256, SMALLEST), max(ceiling, threat.eps, largest)
        self.size = x.new_zeros(2, len(x), dtype=torch.float64)
        self.size[1] = torch.inf
        self.clean = certify(x, y, threat, eps=self.size[0])
        self.margin = torch.stack([self.clean.margin, torch.full_like(self.size[1], -torch.inf)])
        self.cost = self.clean.cost.clone()
        self.place = torch.empty_like(self.size, dtype=torch.long)
        self.lowest, highest = math.floor(math.log2(first / RANGE) * GRID), math.ceil(math.log2(last) * GRID)
        self.place[0], self.place[1] = self.lowest, highest
        # Tabulated, since a tensor's exp2 rounds a number by where it stands in the batch (vector lanes and rest differ).
        self.radii = self.size.new_tensor([2.0 ** (place / GRID) for place in range(self.lowest, highest + 1)])
        self.moved = torch.full_like(y, -1)

    def open(self) -> Tensor:
        """Examples with a radius of the grid between their ends."""
        return (self.clean.certified & (self.place[1] - self.place[0] > 1)).nonzero().squeeze(1)

    def decide(self, size: float) -> None:
        """Ask for one size where it is open."""
        rows = (self.clean.certified & (self.size[0] < size) & (size < self.size[1])).nonzero().squeeze(1)
        if len(rows):
            place = max(math.log2(size) * GRID, self.lowest)
            ends = torch.tensor([[math.floor(place)], [math.ceil(place)]], device=rows.device)
            self._ask(rows, torch.full_like(self.size[0, rows], size), ends.expand(2, len(rows)))

    def narrow(self, rows: Tensor, *, halve: bool) -> None:
        """Ask for a radius of the grid: where the line through both margins is 0, or in the middle."""
        (low, high), (gain, loss), (below, above) = self.size[:, rows], self.margin[:, rows], self.place[:, rows]
        middle = (below + above) // 2
        zero = ((low + (high - low) * gain / (gain - loss)).log2() * GRID).round()
        place = torch.where(zero.isfinite(), zero, middle).long() if not halve else middle
        place = torch.minimum(torch.maximum(place, below + 1), above - 1)
        self._ask(rows, self.radii[place - self.lowest], place.expand(2, len(rows)))

    def _ask(self, rows: Tensor, eps: Tensor, places: Tensor) -> None:
        """Move one end of each; where one moves twice running, the other's margin is halved, so that the line does not creep (Illinois)."""
        outcome = self.certify(rows, eps)
        self.cost[rows] += outcome.cost
        end = (~outcome.certified).long()
        self.margin[1 - end, rows] *= torch.where(self.moved[rows] == end, 0.5, 1.0)
        self.size[end, rows], self.margin[end, rows], self.moved[rows] = eps, outcome.margin, end
        self.place[end, rows] = places.gather(0, end[None])[0]
