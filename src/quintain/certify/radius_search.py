"""The largest radius that a certifier can prove, example by example."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from quintain.certify.outcome import CertificateOutcome, Certifier, TracingCertifier
from quintain.models.protocol import ClassifierLike
from quintain.threats.threat import Threat, check_types
from quintain.threats.l2 import L2

STEPS_PER_DOUBLING = 128
"""Radii looked at between one and its double, each 0.54 % above the one before."""

MAX_SHRINK = 2.0**16
"""How many times smaller than the threat a radius is still looked for."""

MIN_THREAT_RADIUS = 2.0**-126
"""The smallest threat for which that is done: the smallest normal number of float32."""


def largest_certified_radius(
    certifier: Certifier, model: ClassifierLike, x: Tensor, y: Tensor, threat: Threat, *, radii: Sequence[float] = ()
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
    search = _Search(certifier, model, x, y, threat, max(radii, default=0.0))
    search.certify_at(threat.eps)
    iteration = 0
    while len(rows := search.undecided()):
        iteration += 1
        search.refine(rows, halve=iteration % 3 == 0)
    for size in sorted(radii):
        search.certify_at(size)
    return replace(search.at_zero, radius=search.radius[0], forwards=search.forwards)


class _Search:
    """The two ends of what is open, (2, B): proven in row 0, refused in row 1; their sizes, margins and places on the grid."""

    def __init__(self, certifier: Certifier, model: ClassifierLike, x: Tensor, y: Tensor, threat: Threat, largest: float) -> None:
        certify = certifier.trace(model) if isinstance(certifier, TracingCertifier) else partial(certifier, model)
        self.certify = lambda rows, eps: certify(x[rows], y[rows], threat, eps=eps)
        box_diameter = (threat.high - threat.low) * (math.sqrt(x.shape[1:].numel()) if isinstance(threat, L2) else 1.0)
        first, last = max(threat.eps or box_diameter / 256, MIN_THREAT_RADIUS), max(box_diameter, threat.eps, largest)
        self.radius = x.new_zeros(2, len(x), dtype=torch.float64)
        self.radius[1] = torch.inf
        self.at_zero = certify(x, y, threat, eps=self.radius[0])
        self.margin = torch.stack([self.at_zero.margin, torch.full_like(self.radius[1], -torch.inf)])
        self.forwards = self.at_zero.forwards.clone()
        self.grid_index = torch.empty_like(self.radius, dtype=torch.long)
        self.lowest_index, highest = (
            math.floor(math.log2(first / MAX_SHRINK) * STEPS_PER_DOUBLING),
            math.ceil(math.log2(last) * STEPS_PER_DOUBLING),
        )
        self.grid_index[0], self.grid_index[1] = self.lowest_index, highest
        # Tabulated, since a tensor's exp2 rounds a number by where it stands in the batch (vector lanes and rest differ).
        self.grid = self.radius.new_tensor([2.0 ** (place / STEPS_PER_DOUBLING) for place in range(self.lowest_index, highest + 1)])
        self.last_moved_end = torch.full_like(y, -1)

    def undecided(self) -> Tensor:
        """Examples with a radius of the grid between their ends."""
        return (self.at_zero.certified & (self.grid_index[1] - self.grid_index[0] > 1)).nonzero().squeeze(1)

    def certify_at(self, size: float) -> None:
        """Ask for one size where it is open."""
        rows = (self.at_zero.certified & (self.radius[0] < size) & (size < self.radius[1])).nonzero().squeeze(1)
        if len(rows):
            position = max(math.log2(size) * STEPS_PER_DOUBLING, self.lowest_index)
            ends = torch.tensor([[math.floor(position)], [math.ceil(position)]], device=rows.device)
            self._certify_and_update(rows, torch.full_like(self.radius[0, rows], size), ends.expand(2, len(rows)))

    def refine(self, rows: Tensor, *, halve: bool) -> None:
        """Ask for a radius of the grid: where the line through both margins is 0, or in the middle."""
        (low, high), (gain, loss), (below, above) = self.radius[:, rows], self.margin[:, rows], self.grid_index[:, rows]
        middle = (below + above) // 2
        zero = ((low + (high - low) * gain / (gain - loss)).log2() * STEPS_PER_DOUBLING).round()
        grid_index = torch.where(zero.isfinite(), zero, middle).long() if not halve else middle
        grid_index = torch.minimum(torch.maximum(grid_index, below + 1), above - 1)
        self._certify_and_update(rows, self.grid[grid_index - self.lowest_index], grid_index.expand(2, len(rows)))

    def _certify_and_update(self, rows: Tensor, eps: Tensor, grid_indices: Tensor) -> None:
        """Move one end of each; where one moves twice running, the other's margin is halved, so that the line does not creep (Illinois)."""
        outcome = self.certify(rows, eps)
        self.forwards[rows] += outcome.forwards
        end = (~outcome.certified).long()
        self.margin[1 - end, rows] *= torch.where(self.last_moved_end[rows] == end, 0.5, 1.0)
        self.radius[end, rows], self.margin[end, rows], self.last_moved_end[rows] = eps, outcome.margin, end
        self.grid_index[end, rows] = grid_indices.gather(0, end[None])[0]
