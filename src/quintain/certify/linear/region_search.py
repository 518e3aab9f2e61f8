r"""Branch and bound over regions of a threat, with the bounds of all layers recomputed in each region.

The proof excludes inputs with a margin of at most :math:`\tau`. Such inputs lie in a half-space, given by any
linear lower bound of the margin:

.. math:: margin(z) \le \tau,\; a \cdot z + k \le margin(z) \quad\Rightarrow\quad a \cdot z + k \le \tau

All layers are bounded over that half-space of the threat, which gives a better bound of the margin, and so
on. If inputs with several such margins at once are to be excluded, it suffices to bound one sum of the
margins with weights that are not negative; every region has its own weights. When a region's bound gains
little more, the region is split in two by the sign of one ReLU's input. A region is done when its bound of
the margin is above :math:`\tau`, or when no input is left in it; when all are done, the margin is above
:math:`\tau` everywhere. Slopes and multipliers are optimized in float32; the bound that counts is computed in
float64, with all rounding errors included.

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

FIRST_STEPS, LATER_STEPS = 8, 5
"""Steps of Adam on slopes, multipliers and weights, in a region's first round and in later ones."""

MAX_ROUNDS, MAX_ROUNDS_SPLIT = 10, 3
"""Most rounds of narrowing the bounds, for the whole threat and for a region that was split off."""

MIN_GAIN = 0.1
"""Narrowing goes on while a round raises the bound by more than this fraction of its distance to 0."""

MIN_DEPTH, PATIENCE = 3, 4.0
"""The search gives up if a region of ``MIN_DEPTH`` splits needs ``PATIENCE`` times the bounds left."""

Neuron = tuple[int, int]
"""The index of an operation, whose values are the inputs of a ReLU, and the position of one of its values."""

Signs = tuple[tuple[Neuron, int], ...]
"""The splits that lead to a region: neurons and the signs of their values."""

Propagate = Callable[[Region], tuple[BackwardBounds, Operation, Region]]
"""Computes linear bounds over a region, the operation whose values they bound, and the region with narrower
bounds; raises ``EmptyRegionError``.
"""


@dataclass(slots=True, eq=False)
class Branch:
    """A region that may still hold an input of a small margin.

    Args:
        region: The region, with bounds of operations.
        signs: The splits that lead to it.
        bound: Lower bound of the margin, or of a weighted sum of margins.
        slopes: Slopes (n,) of the lower lines of ReLUs, by the index of the operation that they read.
        multipliers: Multipliers (n,) of the signs (beta in beta-CROWN), by the same index.
        weights: Weights of the margins in the sum (R,); None before it was bounded.
        next_split: The neuron to split by next; None if no sign is left open.
        inputs: Approximate minimizer (1, *S) of its linear bound; None before it was bounded.
    """

    region: Region
    signs: Signs = ()
    bound: float = -math.inf
    slopes: Mapping[int, Tensor] = field(default_factory=dict)
    multipliers: Mapping[int, Tensor] = field(default_factory=dict)
    weights: Tensor | None = None
    next_split: Neuron | None = None
    inputs: Tensor | None = None


@dataclass(frozen=True, slots=True)
class RegionSearchResult:
    """The result of a search over regions.

    Args:
        is_proven: Whether no input has all of the margins at or below the limit.
        point: An input (*S) that breaks the example; None if none was found.
        bounds: How many times a region was bounded.
        region: The whole threat, with the narrowest bounds from before it was split.
        weights: Weights (R,) of the margins in the sum that was bounded over it; None if none was.
        is_given_up: Whether the search gave up because splits gained too little.
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
        plain: Interval bounds of its operations in float32, in which slopes are optimized.
        rows: The margins (R, K) as rows over the values of the operation that ``propagate`` returns; see
            ``JointRows``.
        limit: The limit, at least 0; it is 0 for several margins.
        refute: Given inputs near the threat (N, *S), returns an allowed one that breaks the example, or None.
        gives_up: Whether it is given up where splits gain too little, so that the time is for something else.

    Raises:
        SettingError: For several rows with another limit, or that ``JointRows`` refuses.
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
        """Search until the margins are proven or refuted, or the bounds or seconds are used up.

        Args:
            root: The threat, with bounds of all its operations.
            most_bounds: Most times that a region is bounded.
            seconds: Most seconds.
            clock: Tells the time in seconds.
        """
        started = clock()
        whole = Branch(root)

        def is_up() -> bool:
            return self.num_bounds >= most_bounds or clock() - started >= seconds

        def stop(
            *, is_proven: bool = False, point: Tensor | None = None, is_given_up: bool = False
        ) -> RegionSearchResult:
            """Return the result of the search up to now."""
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
        branches, rounds, pushed = [whole], MAX_ROUNDS, 0
        while branches:
            for branch in branches:
                if self._narrow(branch, rounds, is_up):
                    proven.append(branch.signs)
                    continue
                point = None if branch.inputs is None else self.refute(branch.inputs)
                if point is not None:
                    return stop(point=point)
                if branch.next_split is None:
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
            branches, rounds = list(halves(worst)), MAX_ROUNDS_SPLIT
        if not covers(proven):
            raise ContradictionError(
                "branch and bound proves regions that do not make up the whole threat; please report it"
            )
        return stop(is_proven=True)

    def _gains_too_little(self, whole: Branch, worst: Branch, left: float) -> bool:
        """Return whether the region with the worst bound alone would need many more bounds than are left.

        Each further split is assumed to gain as much as those before it on average, which gives the depth
        that is needed; regions double at each level.

        Args:
            whole: The whole threat.
            worst: The region with the worst bound.
            left: Fraction of the bounds or of the time that is left, whichever is less.
        """
        depth = len(worst.signs)
        if depth < MIN_DEPTH:
            return False
        gained = (worst.bound - whole.bound) / depth
        doublings = (self.limit - worst.bound) / gained if gained > 0 else math.inf
        # bounds that can still be computed, at the pace up to now
        affordable = PATIENCE * self.num_bounds * left / max(1e-9, 1 - left)
        return 2.0 ** min(doublings, 1000.0) > affordable

    def _narrow(self, branch: Branch, rounds: int, is_up: Callable[[], bool]) -> bool:
        """Narrow a region's bounds until it is proven or a round gains little; return if it is proven."""
        for number in range(rounds):
            before = branch.bound
            try:
                self._bound(branch, FIRST_STEPS if branch.inputs is None else LATER_STEPS)
            except EmptyRegionError:
                return True
            if branch.bound > self.limit and math.isfinite(branch.bound):
                return True
            gained = branch.bound - before
            if (number and not gained > MIN_GAIN * abs(branch.bound)) or is_up():
                return False
        return False

    def _bound(self, branch: Branch, steps: int) -> None:
        """Bound the margin over a region, and intersect the region with the half-space that follows.

        Raises:
            EmptyRegionError: If nothing is left of the region.
        """
        self.num_bounds += 1
        backward, output, region = self.propagate(branch.region)
        # slopes and multipliers are optimized in float32; the bound that counts is computed in float64
        self._search_slopes(branch, quick_bounds(backward, self.plain), output, steps)
        operations = backward.recording.operations
        coefficients: dict[Operation, Tensor] = {}
        splits = self._splits(operations, branch, branch.slopes, branch.multipliers, torch.float64)
        assert branch.weights is not None
        row = self.joint.sum(branch.weights, torch.float64)
        bound = float(backward.lower_in_parts(output, row, splits, coefficients))
        on_input = coefficients.get(operations[0])
        if on_input is None or not math.isfinite(bound):
            branch.region = region
            return
        if bound > branch.bound:
            branch.bound = bound
            # inputs with a margin of at most the limit lie where the linear bound is at most the limit
            least = float(backward.minimum(on_input))
            cut = InputHalfSpace.of(on_input, bound, least, self.limit, operations[0].terms)
            region = Region(region.bounds, region.relus, cut)
        branch.region = region

    def _search_slopes(self, branch: Branch, quick: BackwardBounds, output: Operation, steps: int) -> None:
        """Optimize slopes, multipliers and weights of a region, and choose the neuron to split it by."""
        # start from the parent's result, or else from the slopes of the lines
        operations = quick.recording.operations
        output = operations[output.index]
        dtype = output.terms.dtype
        sites = _relu_sites(operations)
        slopes, multipliers, moments = {}, {}, {}
        for index, (_, relu) in sites.items():
            assert relu.lines is not None
            start = branch.slopes.get(index)
            slopes[index] = relu.lines.lower_slope.flatten().clone() if start is None else start.clone()
            found = branch.multipliers.get(index)
            multipliers[index] = torch.zeros_like(slopes[index]) if found is None else found.clone()
            moments[index] = [torch.zeros_like(slopes[index]) for _ in range(4)]
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
                variables = [
                    one.detach().requires_grad_() for one in (*slopes.values(), *multipliers.values())
                ]
                slopes = dict(zip(sites, variables[: len(sites)], strict=True))
                multipliers = dict(zip(sites, variables[len(sites) :], strict=True))
                coefficients: dict[Operation, Tensor] = {}
                splits = self._splits(operations, branch, slopes, multipliers, dtype)
                row = self.joint.sum(weights, dtype)
                if len(self.joint) == 1:
                    row = row.detach().clone().requires_grad_()
                bound = quick.lower_in_parts(output, row, splits, coefficients)
                gradients = torch.autograd.grad(
                    bound.sum(), [*variables, weights, coefficients[operations[0]]], materialize_grads=True
                )
            # keep the best; the bound's gradient by the coefficients on the input is the input that minimizes
            # it
            value = float(bound)
            if value > best or step == 1:
                best = value
                branch.slopes = {index: one.detach() for index, one in slopes.items()}
                branch.multipliers = {index: one.detach() for index, one in multipliers.items()}
                branch.weights = weights.detach()
                branch.inputs = gradients[-1]
                branch.next_split = _choose_split(branch, sites, coefficients)
            if value > self.limit or step > steps or not (sites or len(self.joint) > 1):
                return
            if step == 1:
                scale = {
                    index: float(coefficients[relu].detach().abs().mean()) if relu in coefficients else 0.0
                    for index, (_, relu) in sites.items()
                }
            # one step of Adam, projected on slopes in [0, 1], multipliers of at least 0 and allowed weights
            for number, index in enumerate(sites):
                first, second, first_of_signs, second_of_signs = moments[index]
                up = adam_direction(gradients[number], first, second, step)
                slopes[index] = (slopes[index].detach() + SLOPE_STEP * up).clamp(0, 1)
                up = adam_direction(gradients[len(sites) + number], first_of_signs, second_of_signs, step)
                up = MULTIPLIER_STEP * scale[index] * up
                multipliers[index] = (multipliers[index].detach() + up).clamp(min=0)
            weights = self.joint.step(weights.detach(), gradients[-2], moments_of_weights, step, output.terms)

    def _splits(
        self,
        operations: list[Operation],
        branch: Branch,
        slopes: Mapping[int, Tensor],
        multipliers: Mapping[int, Tensor],
        dtype: torch.dtype,
    ) -> dict[Operation, SignSplits]:
        """Return slopes, multipliers and signs of each ReLU that is loose or was split by."""
        found = {}
        for index, (_, relu) in _relu_sites(operations).items():
            assert relu.lines is not None
            loose = relu.lines.loose.flatten()
            signs = torch.zeros(len(loose), dtype=torch.int8, device=loose.device)
            for (split_index, position), sign in branch.signs:
                if split_index == index:
                    signs[position] = sign
            units = (loose | (signs != 0)).nonzero().squeeze(1)
            found[relu] = SignSplits(
                units,
                signs[units][None],
                slopes[index].to(dtype)[units][None],
                multipliers[index].to(dtype)[units][None],
            )
        return found


def halves(branch: Branch) -> tuple[Branch, Branch]:
    """Return the two halves of a region, in which its ``next_split`` is positive and negative."""
    assert branch.next_split is not None
    neuron = branch.next_split

    def half(sign: int) -> Branch:
        return Branch(
            branch.region.split(*neuron, sign),
            (*branch.signs, (neuron, sign)),
            bound=branch.bound,
            slopes=branch.slopes,
            multipliers=branch.multipliers,
            weights=branch.weights,
            inputs=branch.inputs,
        )

    return half(1), half(-1)


def _relu_sites(operations: list[Operation]) -> dict[int, tuple[Operation, Operation]]:
    """Return the operations that give inputs to ReLUs, and the ReLUs, by the indices of the former."""
    return {
        one.sources[0].index: (one.sources[0], one) for one in operations if isinstance(one.lines, ReLULines)
    }


def _choose_split(
    branch: Branch, sites: Mapping[int, tuple[Operation, Operation]], coefficients: Mapping[Operation, Tensor]
) -> Neuron | None:
    """Return the neuron whose relaxation may lose most; None if no relaxation loses anything."""
    best, found = -1.0, None
    for index, (_, relu) in sites.items():
        if relu not in coefficients or relu.lines is None or index not in branch.region.bounds:
            continue
        steep, intercept = (line.flatten() for line in (relu.lines.upper_slope, relu.lines.upper_intercept))
        scores = relaxation_loss(
            coefficients[relu].detach().flatten(), branch.slopes[index], steep, intercept
        )
        scores = scores.masked_fill(~relu.lines.loose.flatten(), -math.inf).nan_to_num(0.0, neginf=-math.inf)
        if not len(scores):
            continue
        position = int(scores.argmax())
        if float(scores[position]) > best:
            best, found = float(scores[position]), (index, position)
    return found
