"""Search for the largest radius that a certifier can prove, example by example."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from quintain.certify.outcome import CertificateOutcome, Certifier, tracing
from quintain.models.protocol import ClassifierLike
from quintain.threats.l2 import L2
from quintain.threats.threat import Threat, check_types

STEPS_PER_DOUBLING = 128
"""Radii of the grid between one and its double, each 0.54 % above the one before."""

MAX_SHRINK = 2.0**16
"""The smallest radius of the grid is the threat's, divided by this."""

MIN_THREAT_RADIUS = 2.0**-126
"""Smaller threats count as this, the smallest normal number of float32, in the choice of the grid."""


def largest_certified_radius(
    certifier: Certifier,
    model: ClassifierLike,
    x: Tensor,
    y: Tensor,
    threat: Threat,
    *,
    radii: Sequence[float] = (),
    search: bool = True,
) -> CertificateOutcome:
    r"""Find the largest certified eps of each example.

    This is root finding on the margin as a function of the radius, by the Illinois variant of regula falsi on
    a grid of radii :math:`2^{k / 128}`; every third step bisects. ``threat.eps`` and every value in ``radii``
    are certified exactly where the search does not decide them already. About seven certificates an example;
    one if it is not certified at radius 0.

    Guarantee: every returned radius was certified itself, whether or not the certifier is monotone. If it is
    monotone, a radius at most 0.6 % larger was tried and not certified, or exceeds the diameter of the data
    box; radii below a 65,536th of the threat's are not looked for. How a batch is cut changes a radius only
    where the certifier's verdict at it does: a margin that is zero but for rounding.

    Args:
        certifier: Takes one eps per example.
        model, x, y: As for the certifier.
        threat: Kind, box and first radius.
        radii: Other radii to decide exactly.
        search: Whether to look for radii between those; for certifiers that take long, not.

    Returns:
        The outcome for the unchanged examples, with ``radius``: 0 where none is certified, as for
        misclassified ones; and with the ``counterexample`` of the smallest radius at which the certifier
        found one.
    """
    return search_radius(tracing(certifier, model), x, y, threat, radii=radii, search=search)


def search_radius(
    certify: Callable[..., CertificateOutcome],
    x: Tensor,
    y: Tensor,
    threat: Threat,
    *,
    radii: Sequence[float] = (),
    search: bool = True,
) -> CertificateOutcome:
    """Find the largest certified eps of each example, as ``largest_certified_radius`` does.

    Args:
        certify: The certifier's call on its model, by ``tracing``, so that many searches trace it once.
        x, y, threat, radii, search: As of ``largest_certified_radius``.
    """
    check_types(threat, x)
    state = _Search(certify, x, y, threat, largest=max(radii, default=0.0))
    state.certify_at(threat.eps)
    iteration = 0
    while search and len(rows := state.undecided_rows()):
        iteration += 1
        state.refine(rows, halve=iteration % 3 == 0)
    for radius in sorted(radii):
        state.certify_at(radius)
    return replace(
        state.at_zero,
        radius=state.radius[0],
        forwards=state.forwards,
        counterexample=state.counterexample,
    )


class _Search:
    """The bracket of each example, as (2, B) tensors: row 0 certified, row 1 not certified.

    Row 0 holds the largest radius certified so far, row 1 the smallest radius not certified; with each its
    margin and its index on the grid. Kept besides: the input that breaks an example at the smallest radius.
    """

    def __init__(
        self,
        certify: Callable[..., CertificateOutcome],
        x: Tensor,
        y: Tensor,
        threat: Threat,
        *,
        largest: float,
    ) -> None:
        self.certify = lambda rows, eps: certify(x[rows], y[rows], threat, eps=eps)
        # No radius beyond the diameter of the data box changes anything.
        box_diameter = (threat.high - threat.low) * (
            math.sqrt(x.shape[1:].numel()) if isinstance(threat, L2) else 1.0
        )
        first, last = (
            max(threat.eps or box_diameter / 256, MIN_THREAT_RADIUS),
            max(box_diameter, threat.eps, largest),
        )
        self.radius = x.new_zeros(2, len(x), dtype=torch.float64)
        self.radius[1] = torch.inf
        self.at_zero = certify(x, y, threat, eps=self.radius[0])
        self.margin = torch.stack([self.at_zero.margin, torch.full_like(self.radius[1], -torch.inf)])
        self.forwards = self.at_zero.forwards.clone()
        found = self.at_zero.counterexample
        self.counterexample = None if found is None else found.clone()
        self.broken_radius = torch.where(self.at_zero.broken, 0.0, torch.inf).double()
        self.grid_index = torch.empty_like(self.radius, dtype=torch.long)
        self.lowest_index, highest = (
            math.floor(math.log2(first / MAX_SHRINK) * STEPS_PER_DOUBLING),
            math.ceil(math.log2(last) * STEPS_PER_DOUBLING),
        )
        self.grid_index[0], self.grid_index[1] = self.lowest_index, highest
        # Index k stands for the radius 2^(k / 128). Tabulated, since a tensor's exp2 rounds a number by its
        # position in the batch (vector lanes and rest differ).
        self.grid = self.radius.new_tensor(
            [2.0 ** (index / STEPS_PER_DOUBLING) for index in range(self.lowest_index, highest + 1)]
        )
        self.last_moved_end = torch.full_like(y, -1)

    def undecided_rows(self) -> Tensor:
        """Return the examples with a radius of the grid between the certified and the uncertified one."""
        return (self.at_zero.certified & (self.grid_index[1] - self.grid_index[0] > 1)).nonzero().squeeze(1)

    def certify_at(self, size: float) -> None:
        """Certify one radius for the examples where it is undecided."""
        rows = (
            (self.at_zero.certified & (self.radius[0] < size) & (size < self.radius[1])).nonzero().squeeze(1)
        )
        if len(rows):
            position = max(math.log2(size) * STEPS_PER_DOUBLING, self.lowest_index)
            ends = torch.tensor([[math.floor(position)], [math.ceil(position)]], device=rows.device)
            self._certify_and_update(
                rows, torch.full_like(self.radius[0, rows], size), ends.expand(2, len(rows))
            )

    def refine(self, rows: Tensor, *, halve: bool) -> None:
        """Certify a radius of the grid: where the line through both margins is 0, or in the middle."""
        # Regula falsi through (low, margin > 0) and (high, margin <= 0); infinite margins give no line, then
        # the middle.
        (low, high), (gain, loss), (below, above) = (
            self.radius[:, rows],
            self.margin[:, rows],
            self.grid_index[:, rows],
        )
        middle = (below + above) // 2
        zero = ((low + (high - low) * gain / (gain - loss)).log2() * STEPS_PER_DOUBLING).round()
        grid_index = torch.where(zero.isfinite(), zero, middle).long() if not halve else middle
        grid_index = torch.minimum(torch.maximum(grid_index, below + 1), above - 1)
        self._certify_and_update(
            rows, self.grid[grid_index - self.lowest_index], grid_index.expand(2, len(rows))
        )

    def _certify_and_update(self, rows: Tensor, eps: Tensor, grid_indices: Tensor) -> None:
        """Certify one new radius per example, and replace the lower or the upper end.

        A certified radius replaces the lower end, any other the upper end.

        If the same end was replaced last time, the margin stored for the other end is halved: without this,
        regula falsi converges from one side only and slowly (Illinois rule).
        """
        outcome = self.certify(rows, eps)
        self.forwards[rows] += outcome.forwards
        self._keep_counterexamples(rows, eps, outcome)
        end = (~outcome.certified).long()
        self.margin[1 - end, rows] *= torch.where(self.last_moved_end[rows] == end, 0.5, 1.0)
        self.radius[end, rows], self.margin[end, rows], self.last_moved_end[rows] = eps, outcome.margin, end
        self.grid_index[end, rows] = grid_indices.gather(0, end[None])[0]

    def _keep_counterexamples(self, rows: Tensor, eps: Tensor, outcome: CertificateOutcome) -> None:
        """Keep the inputs that break an example at a smaller radius than any before."""
        if outcome.counterexample is None:
            return
        points = outcome.counterexample
        if self.counterexample is None:
            self.counterexample = points.new_full((len(self.broken_radius), *points.shape[1:]), torch.nan)
        nearer = outcome.broken & (eps < self.broken_radius[rows])
        self.counterexample[rows[nearer]] = points[nearer]
        self.broken_radius[rows[nearer]] = eps[nearer]
