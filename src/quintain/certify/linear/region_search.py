r"""Branch and bound over regions: bounds of all layers are narrowed anew in each part of a threat.

An input with a margin of at most :math:`\tau` is looked for, so that wherever a linear bound of the margin
says more, there is none:

.. math:: margin(z) \le \tau,\; a \cdot z + k \le margin(z) \quad\Rightarrow\quad a \cdot z + k \le \tau

All values are bounded over that half-space of the threat, by which the margin has a better bound, and so on.
Where an input has to have several such margins at once, it has each sum of them with weights that are not
negative, too, and every region has weights of its own: one bound of such a sum suffices. Where that no longer
helps, the region is split in two by the sign of what one ReLU is given. A region is
done where its bound of the margin is above :math:`\tau`, or where no input is left in it; then the margin is
above :math:`\tau` everywhere. Slopes and multipliers are searched for in float32; what counts is a bound in
float64 with all rounding charged.

Source: Kotha et al., 2023, arXiv:2302.01404; Zhou et al., 2025, arXiv:2512.11087; Bunel et al., 2020,
    arXiv:1909.06588 (scores of ReLUs).
"""

import heapq
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from quintain.certify.interval.recording import Operation, ReLULines
from quintain.certify.linear.backward import BackwardBounds
from quintain.certify.linear.half_space import InputHalfSpace
from quintain.certify.linear.joint_rows import JointRows
from quintain.certify.linear.parts import covers
from quintain.certify.linear.region import EmptyRegionError, Region
from quintain.certify.linear.search_bounds import quick_bounds
from quintain.certify.linear.sign_splits import SignSplits
from quintain.certify.linear.slope_search import (
    MULTIPLIER_STEP,
    SLOPE_STEP,
    adam_direction,
    relaxation_loss,
)
from quintain.core.errors import ContradictionError, SettingError

STEPS, STEPS_AGAIN = 8, 5
"""Steps of Adam on slopes, multipliers and weights, in the first round and in those after it."""

ROUNDS, ROUNDS_AGAIN = 10, 3
"""Most rounds of narrowing the bounds of the whole threat, and of a part of it."""

GAIN = 0.1
"""Fraction of a bound's distance to 0; after a round that gained so much there is another one."""

LEAST_DEPTH, PATIENCE = 3, 4.0
"""A search is given up where a region of at least so many splits would take so many times the bounds left."""

Signs = tuple[tuple[tuple[int, int], int], ...]
"""Splits from the root: an operation's place and the position of a value, and its sign."""

Propagate = Callable[[Region], tuple[BackwardBounds, Operation, Region]]
"""Bounds over a region, the operation whose values are bounded, and the region with narrower bounds; raises
``EmptyRegionError``.
"""


@dataclass(slots=True, eq=False)
class Branch:
    """A region that may still hold an input of a small margin.

    Args:
        region: What is known of it.
        signs: The splits that make it.
        bound: Lower bound of the margin, or of a sum of margins.
        slopes: Of the lower lines of ReLUs, by the places of what they are given (n,).
        multipliers: Of the signs, the same.
        weights: Of the margins in that sum (R,); None before it was bounded.
        unit: What to split next by; None where no sign is left.
        inputs: Where its bound is least (1, *S), about; None before it was bounded.
    """

    region: Region
    signs: Signs = ()
    bound: float = -math.inf
    slopes: Mapping[int, Tensor] = field(default_factory=dict)
    multipliers: Mapping[int, Tensor] = field(default_factory=dict)
    weights: Tensor | None = None
    unit: tuple[int, int] | None = None
    inputs: Tensor | None = None


@dataclass(frozen=True, slots=True)
class RegionSearchResult:
    """What a search over regions found.

    Args:
        is_proven: Whether a margin is above the limit everywhere.
        point: An input (*S) that breaks the example; None if none was found.
        bounds: How many times a region was bounded.
        region: The whole threat, as narrow as it was before it was split.
        weights: Of the margins in the sum that was bounded over it (R,); None if none was.
        is_given_up: Whether it was given up, since splits gain too little.
    """

    is_proven: bool
    point: Tensor | None
    bounds: int
    region: Region
    weights: Tensor | None
    is_given_up: bool = False


class RegionSearch:
    """The search for a proof that no input has a margin, or all of some margins, of at most a limit.

    Args:
        propagate: Bounds an example over a region.
        plain: The bounds of its operations over intervals, in float32: what search computes with.
        rows: The margins (R, K), over the values of the operation that ``propagate`` returns, as of
            ``JointRows``.
        limit: What one is to exceed, at least 0; of several, 0.
        refute: Given inputs near the threat (N, *S), returns an allowed one that breaks the example, or None.
        gives_up: Whether it is given up where splits gain too little, so that the time is for something else.

    Raises:
        SettingError: For several rows that are not values, or that have another limit.
    """

    def __init__(
        self,
        propagate: Propagate,
        plain: BackwardBounds,
        *,
        rows: Tensor,
        limit: float,
        refute: Callable[[Tensor], Tensor | None],
        gives_up: bool = True,
    ) -> None:
        self.joint = JointRows(rows)
        if len(rows) > 1 and limit != 0:
            raise SettingError(f"limit = {limit:g} for {len(rows)} margins at once; expected 0")
        self.propagate, self.plain, self.limit, self.refute = propagate, plain, limit, refute
        self.gives_up, self.num_bounds = gives_up, 0

    def run(
        self,
        root: Region,
        most_bounds: int,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> RegionSearchResult:
        """Search until a margin is proven or refuted, or so many bounds or seconds are used up.

        Args:
            root: The threat, with bounds of all its operations.
        """
        started = clock()
        whole = Branch(root)

        def is_up() -> bool:
            return self.num_bounds >= most_bounds or clock() - started >= seconds

        def stop(
            *, is_proven: bool = False, point: Tensor | None = None, is_given_up: bool = False
        ) -> RegionSearchResult:
            """Return what was found until now."""
            return RegionSearchResult(
                is_proven=is_proven,
                point=point,
                bounds=self.num_bounds,
                region=whole.region,
                weights=whole.weights,
                is_given_up=is_given_up,
            )

        proven: list[Signs] = []
        waiting: list[tuple[float, int, Branch]] = []
        branches, rounds, pushed = [whole], ROUNDS, 0
        while branches:
            for branch in branches:
                if self._narrow(branch, rounds, is_up):
                    proven.append(branch.signs)
                    continue
                point = None if branch.inputs is None else self.refute(branch.inputs)
                if point is not None:
                    return stop(point=point)
                if branch.unit is None:
                    return stop()
                pushed += 1
                heapq.heappush(waiting, (branch.bound, pushed, branch))
            if not waiting:
                break
            if is_up():
                return stop()
            worst = heapq.heappop(waiting)[2]
            left = (1 - self.num_bounds / most_bounds, 1 - (clock() - started) / seconds)
            if self.gives_up and self._gains_too_little(whole, worst, min(left)):
                return stop(is_given_up=True)
            branches, rounds = list(halves(worst)), ROUNDS_AGAIN
        if not covers(proven):
            raise ContradictionError(
                "branch and bound proves regions that do not make up the whole threat; please report it"
            )
        return stop(is_proven=True)

    def _gains_too_little(self, whole: Branch, worst: Branch, left: float) -> bool:
        """Tell whether the region of the worst bound alone would take much more than what is left.

        Each split of it is taken to gain as much as those before, so that regions double as often as is left
        to be gained.

        Args:
            whole: The threat.
            worst: The region.
            left: Fraction of the bounds or of the time that is left, whichever is less.
        """
        depth = len(worst.signs)
        if depth < LEAST_DEPTH:
            return False
        gained = (worst.bound - whole.bound) / depth
        doublings = (self.limit - worst.bound) / gained if gained > 0 else math.inf
        # bounds that may still be had, at the pace until now
        affordable = PATIENCE * self.num_bounds * left / max(1e-9, 1 - left)
        return 2.0 ** min(doublings, 1000.0) > affordable

    def _narrow(self, branch: Branch, rounds: int, is_up: Callable[[], bool]) -> bool:
        """Narrow the bounds of a region until it is proven, which is returned, or gains little."""
        for number in range(rounds):
            before = branch.bound
            try:
                self._bound(branch, STEPS if branch.inputs is None else STEPS_AGAIN)
            except EmptyRegionError:
                return True
            if branch.bound > self.limit and math.isfinite(branch.bound):
                return True
            gained = branch.bound - before
            if (number and not gained > GAIN * abs(branch.bound)) or is_up():
                return False
        return False

    def _bound(self, branch: Branch, steps: int) -> None:
        """Bound the margin over a region, and cut the region by what that says.

        Raises:
            EmptyRegionError: If nothing is left of it.
        """
        self.num_bounds += 1
        backward, output, region = self.propagate(branch.region)
        # slopes and multipliers are searched for in float32; the bound that counts is one in float64
        self._search_slopes(branch, quick_bounds(backward, self.plain), output, steps)
        operations = backward.recording.operations
        seen: dict[Operation, Tensor] = {}
        splits = self._splits(operations, branch, branch.slopes, branch.multipliers, torch.float64)
        assert branch.weights is not None
        row = self.joint.sum(branch.weights, torch.float64)
        bound = float(backward.lower_in_parts(output, row, splits, seen))
        start = seen.get(operations[0])
        if start is None or not math.isfinite(bound):
            branch.region = region
            return
        if bound > branch.bound:
            branch.bound = bound
            # inputs with a margin of at most the limit lie in the half-space where the linear bound is that
            least = float(backward.minimum(start))
            cut = InputHalfSpace.of(start, bound, least, self.limit, operations[0].terms)
            region = Region(region.bounds, region.relus, cut)
        branch.region = region

    def _search_slopes(self, branch: Branch, quick: BackwardBounds, output: Operation, steps: int) -> None:
        """Search for slopes, multipliers and weights of a region, and for what to split it by."""
        # begin where the search before ended, and at the slopes of the lines where there was none
        operations = quick.recording.operations
        output = operations[output.index]
        dtype = output.terms.dtype
        sites = _relu_sites(operations)
        slopes, multipliers, moments = {}, {}, {}
        for place, (_, relu) in sites.items():
            assert relu.lines is not None
            start = branch.slopes.get(place)
            slopes[place] = relu.lines.lower_slope.flatten().clone() if start is None else start.clone()
            found = branch.multipliers.get(place)
            multipliers[place] = torch.zeros_like(slopes[place]) if found is None else found.clone()
            moments[place] = [torch.zeros_like(slopes[place]) for _ in range(4)]
        weights = branch.weights
        if weights is None:
            splits = self._splits(operations, branch, slopes, multipliers, dtype)
            weights = self.joint.first_weights(
                lambda rows: quick.lower_in_parts(output, rows, splits), output.terms
            )
        moments_of_weights = torch.zeros_like(weights), torch.zeros_like(weights)
        best, scale = -math.inf, dict.fromkeys(sites, 1.0)
        for step in range(1, steps + 2):
            with torch.enable_grad():
                weights = weights.detach().requires_grad_()
                given = [part.detach().requires_grad_() for part in (*slopes.values(), *multipliers.values())]
                ours = dict(zip(sites, given[: len(sites)], strict=True))
                others = dict(zip(sites, given[len(sites) :], strict=True))
                seen: dict[Operation, Tensor] = {}
                splits = self._splits(operations, branch, ours, others, dtype)
                row = self.joint.sum(weights, dtype)
                if len(self.joint) == 1:
                    row = row.detach().clone().requires_grad_()
                bound = quick.lower_in_parts(output, row, splits, seen)
                gradients = torch.autograd.grad(
                    bound.sum(), [*given, weights, seen[operations[0]]], materialize_grads=True
                )
            # keep the best: the bound's gradient by the row over the input is the input where it is least
            value = float(bound)
            if value > best or step == 1:
                best = value
                branch.slopes = {place: part.detach() for place, part in ours.items()}
                branch.multipliers = {place: part.detach() for place, part in others.items()}
                branch.weights = weights.detach()
                branch.inputs = gradients[-1]
                branch.unit = _unit_to_split(branch, sites, seen)
            if value > self.limit or step > steps or not (sites or len(self.joint) > 1):
                return
            if step == 1:
                scale = {
                    place: float(seen[relu].detach().abs().mean()) if relu in seen else 0.0
                    for place, (_, relu) in sites.items()
                }
            # one step of Adam, projected on what slopes, multipliers and weights may be
            for number, place in enumerate(sites):
                first, second, first_of_signs, second_of_signs = moments[place]
                up = adam_direction(gradients[number], first, second, step)
                slopes[place] = (ours[place].detach() + SLOPE_STEP * up).clamp(0, 1)
                up = adam_direction(gradients[len(sites) + number], first_of_signs, second_of_signs, step)
                up = MULTIPLIER_STEP * scale[place] * up
                multipliers[place] = (others[place].detach() + up).clamp(min=0)
            weights = self.joint.step(weights.detach(), gradients[-2], moments_of_weights, step, output.terms)

    def _splits(
        self,
        operations: list[Operation],
        branch: Branch,
        slopes: Mapping[int, Tensor],
        multipliers: Mapping[int, Tensor],
        dtype: torch.dtype,
    ) -> dict[Operation, SignSplits]:
        """Return what a region says of each ReLU, loose ones and those whose sign was split by."""
        found = {}
        for place, (_, relu) in _relu_sites(operations).items():
            assert relu.lines is not None
            loose = relu.lines.loose.flatten()
            signs = torch.zeros(len(loose), dtype=torch.int8, device=loose.device)
            for (where, unit), sign in branch.signs:
                if where == place:
                    signs[unit] = sign
            units = (loose | (signs != 0)).nonzero().squeeze(1)
            found[relu] = SignSplits(
                units,
                signs[units][None],
                slopes[place].to(dtype)[units][None],
                multipliers[place].to(dtype)[units][None],
            )
        return found


def halves(branch: Branch) -> tuple[Branch, Branch]:
    """Return the two regions into which the sign of a value splits one."""
    assert branch.unit is not None
    place, unit = branch.unit

    def half(sign: int) -> Branch:
        return Branch(
            branch.region.split(place, unit, sign),
            (*branch.signs, (branch.unit, sign)),  # type: ignore[arg-type]
            bound=branch.bound,
            slopes=branch.slopes,
            multipliers=branch.multipliers,
            weights=branch.weights,
            inputs=branch.inputs,
        )

    return half(1), half(-1)


def _relu_sites(operations: list[Operation]) -> dict[int, tuple[Operation, Operation]]:
    """Return the operations that ReLUs are given, and the ReLUs, by the places of the former."""
    return {
        one.sources[0].index: (one.sources[0], one) for one in operations if isinstance(one.lines, ReLULines)
    }


def _unit_to_split(
    branch: Branch, sites: Mapping[int, tuple[Operation, Operation]], seen: Mapping[Operation, Tensor]
) -> tuple[int, int] | None:
    """Return the value by whose sign to split: that whose ReLU's lines may lose most; None if none does."""
    best, found = -1.0, None
    for place, (_, relu) in sites.items():
        if relu not in seen or relu.lines is None or place not in branch.region.bounds:
            continue
        steep, intercept = (line.flatten() for line in (relu.lines.upper_slope, relu.lines.upper_intercept))
        scores = relaxation_loss(seen[relu].detach().flatten(), branch.slopes[place], steep, intercept)
        scores = scores.masked_fill(~relu.lines.loose.flatten(), -math.inf).nan_to_num(0.0, neginf=-math.inf)
        if not len(scores):
            continue
        unit = int(scores.argmax())
        if float(scores[unit]) > best:
            best, found = float(scores[unit]), (place, unit)
    return found
