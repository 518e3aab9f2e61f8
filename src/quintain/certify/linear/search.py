"""Branch and bound over the signs of ReLUs' inputs, of one example: parts of least bound first, many at once.

A part of the threat is split in two by the sign of what one ReLU is given. Slopes and multipliers of each
part are searched for in float32; a part counts as proven only by its bound in float64 with all rounding
charged, and the example only if what is proven covers the threat.
"""

import heapq
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from quintain.certify.interval.recording import Operation, ReLULines
from quintain.certify.linear.backward import BackwardBounds
from quintain.certify.linear.parts import Part, children, covers
from quintain.certify.linear.sign_splits import SignSplits
from quintain.certify.linear.slope_search import (
    MULTIPLIER_STEP,
    SLOPE_STEP,
    adam_direction,
    relaxation_loss,
)
from quintain.core.errors import ContradictionError

BATCH = 64
"""Parts that are split at once."""

FIRST_STEPS = 4
"""Steps of Adam on slopes and multipliers of each part."""

LATER_STEPS = 16
"""The same where a part is searched again, since no sign is left to split it by."""

FALL = 0.7
"""Factor on the sizes of these steps each time that a part is searched again."""

ROUNDS = 25
"""How often slopes and multipliers of a part are searched for where no sign is left to split by."""

TRIED = 4
"""Inputs at which bounds of open parts are least that are tried on the model, worst first."""

CANDIDATES = 3
"""ReLUs of largest score of which both children are bounded before one is split."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The result of a search for a proof.

    Args:
        margin: Proven lower bound of the margin, -inf if it is open.
        point: An input (*S) that breaks the example; None if none was found.
        bounds: How many parts were bounded.
    """

    margin: float
    point: Tensor | None
    bounds: int

    @property
    def is_proven(self) -> bool:
        """Whether the margin is proven to be above the limit of the search."""
        return self.point is None and self.margin > -torch.inf


class Site(NamedTuple):
    """The ReLUs of one operation that may be split.

    Args:
        operation_index: Index of the operation.
        units: Their positions among its values, flattened (m,).
        first: The number of the first of them among all (M).
    """

    operation_index: int
    units: Tensor
    first: int


class PartSearch:
    """The search for a proof of one example.

    Args:
        backward: Bounds of its operations, of which the nonlinear ones have their lines.
        quick: The same for search, in whatever type.
        output: The operation that gives the logits.
        rows: Margins that are to be proven, as rows (R, K) over the logits.
        refute: Given inputs near the threat (N, *S), returns an allowed one that breaks the example, or None.
        limit: What the margins are to exceed.
    """

    def __init__(
        self,
        backward: BackwardBounds,
        quick: BackwardBounds,
        *,
        output: Operation,
        rows: Tensor,
        refute: Callable[[Tensor], Tensor | None],
        limit: float = 0.0,
    ) -> None:
        self.backward, self.quick, self.output, self.rows, self.refute = backward, quick, output, rows, refute
        self.limit = limit
        self.sites: list[Site] = []
        self.num_bounds, first = 0, 0
        slopes = [rows.new_zeros(0)]
        for operation in backward.recording.operations:
            if isinstance(operation.lines, ReLULines):
                units = operation.lines.loose.flatten().nonzero().squeeze(1)
                self.sites.append(Site(operation.index, units, first))
                slopes.append(operation.lines.lower_slope.flatten()[units])
                first += len(units)
        self._slopes = torch.cat(slopes)
        self._scale = torch.ones_like(self._slopes)

    def run(
        self, most_bounds: int, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> SearchResult:
        """Search until all margins are proven, one is refuted, or so many parts or seconds are used up."""
        started = clock()
        zeros = torch.zeros_like(self._slopes)
        roots = [Part(rival, (), self._slopes, zeros) for rival in range(len(self.rows))]
        proven: list[Part] = []
        waiting: list[tuple[float, int, Part]] = []
        pushed = 0
        parts = roots
        while parts:
            point = self._tighten(parts)
            if point is not None:
                return SearchResult(-torch.inf, point, self.num_bounds)
            done = self._prove([part for part in parts if part.bound > self.limit])
            proven += done
            for part in parts:
                if part in done:
                    continue
                part.rounds += 1
                if part.branch < 0 and part.rounds > (ROUNDS if part.path else 0):
                    # every sign is known, and still it is not decided
                    return SearchResult(-torch.inf, None, self.num_bounds)
                pushed += 1
                heapq.heappush(waiting, (part.bound, pushed, part))
            if not waiting:
                break
            if self.num_bounds >= most_bounds or clock() - started >= seconds:
                return SearchResult(-torch.inf, None, self.num_bounds)
            worst = [heapq.heappop(waiting)[2] for _ in range(min(BATCH, len(waiting)))]
            parts = [one for part in worst for one in (children(part) if part.branch >= 0 else (part,))]
        for rival in range(len(self.rows)):
            if not covers([part.path for part in proven if part.rival == rival]):
                raise ContradictionError(
                    "branch and bound proves parts that do not make up the whole threat; please report it"
                )
        return SearchResult(min(part.bound for part in proven), None, self.num_bounds)

    def _tighten(self, parts: Sequence[Part]) -> Tensor | None:
        """Search for slopes and multipliers of some parts, and for the ReLU to split next.

        Returns:
            An input that breaks the example, if one was met.
        """
        dtype = self.quick.recording.operations[0].terms.dtype
        # a margin that rests on no ReLU still has a gradient at its rows
        rows = self._rows(parts).to(dtype).requires_grad_()
        signs = self._signs(parts)
        values = [
            torch.stack([getattr(part, name) for part in parts]).to(dtype)
            for name in ("slopes", "multipliers")
        ]
        falling = torch.tensor([[FALL**part.rounds] for part in parts], dtype=dtype, device=rows.device)
        sizes = [SLOPE_STEP * falling, MULTIPLIER_STEP * falling * self._scale.to(dtype)]
        moments = [(torch.zeros_like(value), torch.zeros_like(value)) for value in values]
        best = torch.full((len(parts),), -torch.inf, dtype=dtype, device=rows.device)
        kept, inputs, scores = [value.clone() for value in values], None, None
        again = any(part.rounds for part in parts)
        steps = (LATER_STEPS if again else FIRST_STEPS) if len(self._slopes) else 1
        for step in range(1, steps + 1):
            with torch.enable_grad():
                values = [value.detach().requires_grad_() for value in values]
                seen: dict[Operation, Tensor] = {}
                bound = self._bound(self.quick, rows, signs, values, seen)
                start = seen[self.quick.recording.operations[0]]
                gradients = torch.autograd.grad(bound.sum(), [*values, start], materialize_grads=True)
            better = bound.detach() > best
            best = torch.where(better, bound.detach(), best)
            kept = [torch.where(better[:, None], new, old) for new, old in zip(values, kept, strict=True)]
            scores = self._scores(seen, values[0].detach(), signs)
            inputs = gradients[-1]
            if bool((best > self.limit).all()):
                break
            slopes, multipliers = (
                value.detach() + size * adam_direction(gradient, *both, step)
                for value, size, gradient, both in zip(values, sizes, gradients[:-1], moments, strict=True)
            )
            values = [slopes.clamp(0, 1), multipliers.clamp(min=0)]
        self.num_bounds += len(parts)
        for number, part in enumerate(parts):
            part.slopes, part.multipliers = kept[0][number].detach(), kept[1][number].detach()
            part.bound = float(best[number])
        is_open = ~(best > self.limit)
        if inputs is None or scores is None or not bool(is_open.any()):
            return None
        self._choose(
            [part for part, one in zip(parts, is_open.tolist(), strict=True) if one], scores[is_open]
        )
        order = best[is_open].argsort()
        return self.refute(inputs[is_open][order[:TRIED]])

    def _choose(self, parts: Sequence[Part], scores: Tensor) -> None:
        """Choose the ReLU to split next: of those of largest score, whose worse child is best."""
        count = min(CANDIDATES, scores.shape[1])
        top = scores.topk(count, dim=1)
        tried = [
            (part, unit, child)
            for part, units, found in zip(parts, top.indices.tolist(), top.values.tolist(), strict=True)
            for unit, score in zip(units, found, strict=True)
            if score > -torch.inf
            for child in children(replace(part, branch=unit))
        ]
        if not tried:
            return
        made = [child for _, _, child in tried]
        dtype = self.quick.recording.operations[0].terms.dtype
        values = [torch.stack([getattr(one, name) for one in made]) for name in ("slopes", "multipliers")]
        bounds = self._bound(
            self.quick, self._rows(made).to(dtype), self._signs(made), [value.to(dtype) for value in values]
        ).tolist()
        worse: dict[int, tuple[float, int]] = {}
        for number in range(0, len(tried), 2):
            part, unit, _ = tried[number]
            low, high = sorted(bounds[number : number + 2])
            found = min(low, 0.0) + 1e-3 * min(high, 0.0)
            if id(part) not in worse or found > worse[id(part)][0]:
                worse[id(part)] = found, unit
        for part in parts:
            part.branch = worse[id(part)][1] if id(part) in worse else -1

    def _prove(self, parts: Sequence[Part]) -> list[Part]:
        """Return the parts that are proven by bounds in float64, which they have from then on."""
        if not parts:
            return []
        values = [
            torch.stack([getattr(one, name) for one in parts]).double() for name in ("slopes", "multipliers")
        ]
        bounds = self._bound(self.backward, self._rows(parts), self._signs(parts), values)
        for part, bound in zip(parts, bounds.tolist(), strict=True):
            # what is not finite proves nothing
            part.bound = bound if math.isfinite(bound) else -torch.inf
        return [part for part in parts if part.bound > self.limit]

    def _bound(
        self,
        backward: BackwardBounds,
        rows: Tensor,
        signs: Tensor,
        values: Sequence[Tensor],
        seen: dict[Operation, Tensor] | None = None,
    ) -> Tensor:
        """Return lower bounds (N,) of some margins, each over its part."""
        operations = backward.recording.operations
        splits = {
            operations[site.operation_index]: SignSplits(
                site.units, *(part[:, site.first : site.first + len(site.units)] for part in (signs, *values))
            )
            for site in self.sites
        }
        return backward.lower_in_parts(operations[self.output.index], rows, splits, seen)

    def _scores(self, seen: dict[Operation, Tensor], slopes: Tensor, signs: Tensor) -> Tensor:
        """Return how much the lines of each ReLU may lose (N, M); -inf where its sign is known."""
        found = []
        for site in self.sites:
            operation = self.quick.recording.operations[site.operation_index]
            part = slice(site.first, site.first + len(site.units))
            if operation not in seen or operation.lines is None:
                found.append(torch.zeros_like(slopes[:, part]))
                continue
            rows = seen[operation].detach().flatten(1)[:, site.units]
            steep, intercept = (line.flatten()[site.units] for line in operation.lines[2:4])
            found.append(relaxation_loss(rows, slopes[:, part], steep, intercept))
            if self.num_bounds == 0:
                self._scale[part] = rows.abs().mean().to(self._scale.dtype)
        scores = torch.cat([slopes[:, :0], *found], 1).nan_to_num(0.0)
        return scores.masked_fill(signs != 0, -torch.inf)

    def _rows(self, parts: Sequence[Part]) -> Tensor:
        return self.rows[torch.tensor([part.rival for part in parts], device=self.rows.device)]

    def _signs(self, parts: Sequence[Part]) -> Tensor:
        """Return the signs that make some parts (N, M)."""
        signs = torch.zeros(len(parts), len(self._slopes), dtype=torch.int8, device=self.rows.device)
        split = [(number, unit, sign) for number, part in enumerate(parts) for unit, sign in part.path]
        if split:
            numbers, units, given = torch.tensor(split, device=signs.device).unbind(1)
            signs[numbers, units] = given.to(signs.dtype)
        return signs
