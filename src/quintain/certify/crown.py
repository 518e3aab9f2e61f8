"""Certifiers by linear bounds: backward from the margins to the input, tighter than intervals and dearer."""

from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from quintain.certify.interval.certifier import LayerCertifier, cast_input
from quintain.certify.interval.domain import Interval, input_interval
from quintain.certify.interval.graph import TracedNetwork
from quintain.certify.interval.recording import Recording
from quintain.certify.interval.traced_bounds import radii, smallest_margin
from quintain.certify.linear.backward import BackwardBounds, Minimum, Tables
from quintain.certify.linear.half_space import CutMinimum
from quintain.certify.linear.minimum import allowed_box, linear_minimum
from quintain.certify.linear.region import Region, RegionNarrowing
from quintain.certify.rounding import FLOAT64_SAFETY_FACTOR, RoundingModel, rounding_model
from quintain.models.classifier import Classifier
from quintain.results.literals import CROWN_BOUNDS, CROWN_IBP_BOUNDS
from quintain.threats.l2 import L2
from quintain.threats.linf import Linf
from quintain.threats.mask import Mask
from quintain.threats.threat import Threat

GUARANTEE = (
    "deterministic: no input of the threat changes the answer of the model that runs, its float32 rounding "
    "and the bound's own in float64 included"
)
SUPPORTS = ("linf", "l2")

SECONDS_PER_VALUE = 2e-8
"""About the time that it takes to carry one value of a row back through a layer."""


@dataclass(frozen=True, slots=True)
class CROWN(LayerCertifier):
    r"""Linear bounds on the margin of the model *that runs*, backward through its layers.

    .. math:: z_y(x') - z_j(x') \ge A_j x' + c_j \quad \forall x' \in threat,
        \qquad certified \iff \min_{j \ne y} \min_{x'} (A_j x' + c_j) > 0

    Each nonlinear layer lies between two lines over the bounds of its input; those bounds are linear ones
    too, where intervals leave the two lines apart, and are intersected with intervals. Examples that
    intervals certify cost no more than these. All is computed in float64, and what rounding may change, in
    the model and in the bound itself, is taken off.

    Guarantee: as of ``IntervalBounds``, and never less is certified than by that.

    Raises:
        ModelError, DataError, ContradictionError: As of ``IntervalBounds``; the layers are the same.
        SettingError: For a threat that is none of ``Linf``, ``L2``, ``L1``, ``L0`` and ``Mask``.

    Source: Zhang, Weng, Chen, Hsieh and Daniel, 2018, arXiv:1811.00866.
    """

    name: ClassVar[str] = "crown"
    summary: ClassVar[str] = "linear bounds backward through the layers: tighter than intervals, dearer"
    guarantee: ClassVar[str] = GUARANTEE
    title: ClassVar[str] = CROWN_BOUNDS
    supports: ClassVar[tuple[str, ...]] = SUPPORTS
    example: ClassVar[str] = "linf:4/255"
    default_rank: ClassVar[int] = 3
    cost: ClassVar[str] = "expensive"

    def _margins(self) -> "LinearMargins":
        return LinearMargins(narrow=True)


@dataclass(frozen=True, slots=True)
class CROWNIBP(LayerCertifier):
    """Linear bounds on the margin over intervals of the layers before: ``CROWN`` by one backward pass.

    Guarantee, Raises: As of ``CROWN``.

    Source: Zhang et al., 2020, arXiv:1906.06316.
    """

    name: ClassVar[str] = "crown-ibp"
    summary: ClassVar[str] = "linear bounds of the margin over intervals of the layers: one backward pass"
    guarantee: ClassVar[str] = GUARANTEE
    title: ClassVar[str] = CROWN_IBP_BOUNDS
    supports: ClassVar[tuple[str, ...]] = SUPPORTS
    example: ClassVar[str] = "linf:4/255"
    default_rank: ClassVar[int] = 4
    cost: ClassVar[str] = "expensive"

    def _margins(self) -> "LinearMargins":
        return LinearMargins(narrow=False)


@dataclass(frozen=True, slots=True, eq=False)
class LinearMargins:
    """Bounds of margins, as ``MarginBounds`` says: intervals, then linear bounds of what they leave open.

    Args:
        narrow: Whether the bounds of nonlinear layers' inputs are linear ones, too.
        tables: Jacobians of operations, by the shape of an example.
    """

    narrow: bool
    tables: dict[torch.Size, Tables] = field(default_factory=dict)

    def __call__(
        self,
        traced: TracedNetwork,
        x: Tensor,
        y: Tensor,
        threat: Threat,
        eps: Tensor | None,
        rounding: RoundingModel,
        *,
        correct: Tensor,
        points: Tensor | None = None,
    ) -> Tensor:
        radius = radii(x, threat, eps)
        bounds = interval_margins(traced, x, y, threat, eps, rounding, points=points)
        is_open = correct & ~(smallest_margin(bounds, y) > 0)
        for row in is_open.nonzero().squeeze(1).tolist():
            one = slice(row, row + 1)
            found = self._margins_of_one(
                traced,
                x[one],
                y[one],
                threat,
                float(radius[row]),
                rounding,
                points=None if points is None else points[row :: len(x)],
            )
            # NaN bounds nothing
            bounds[one] = torch.where(found > bounds[one], found, bounds[one])
        return bounds

    def _margins_of_one(
        self,
        traced: TracedNetwork,
        x: Tensor,
        y: Tensor,
        threat: Threat,
        eps: float,
        rounding: RoundingModel,
        *,
        points: Tensor | None,
    ) -> Tensor:
        """Return linear bounds (1, K) on the true logit minus each, of one example."""
        backward, logits, _ = self.region_bounds(traced, x, threat, eps, rounding, Region(), points=points)
        assert logits.operation is not None
        return backward.lower(logits.operation, margin_rows(logits, y))[None].masked_fill(
            torch.nn.functional.one_hot(y, max(2, logits.center.shape[1])).bool(), 0.0
        )

    def backward_bounds(
        self,
        traced: TracedNetwork,
        x: Tensor,
        threat: Threat,
        eps: float,
        rounding: RoundingModel,
        *,
        points: Tensor | None = None,
    ) -> tuple[BackwardBounds, Interval]:
        """Return bounds of one example (1, *S) whose operations are recorded, and its logits among these."""
        backward, logits, _ = self.region_bounds(traced, x, threat, eps, rounding, Region(), points=points)
        return backward, logits

    def region_bounds(
        self,
        traced: TracedNetwork,
        x: Tensor,
        threat: Threat,
        eps: float,
        rounding: RoundingModel,
        region: Region,
        *,
        points: Tensor | None = None,
    ) -> tuple[BackwardBounds, Interval, RegionNarrowing]:
        """Return bounds of one example over some inputs of the threat, its logits, and what was narrowed.

        Args:
            traced, x, threat, eps, rounding, points: As of ``backward_bounds``.
            region: The inputs, and what is known of them.

        Raises:
            EmptyRegionError: If none of the inputs is left.
        """
        # a change is measured in float64, by a sum of as many terms as there are coordinates
        eps = eps * (1 + FLOAT64_SAFETY_FACTOR * (x.numel() + 4) * 2.0**-53)
        lower, upper = allowed_box(x, threat, eps)
        box = input_interval(x, threat, eps) if isinstance(threat, L2) else Interval.from_bounds(lower, upper)
        recording = Recording()
        terms = torch.maximum(lower.abs(), upper.abs()) + (upper - lower)
        minimum: Minimum = partial(linear_minimum, x=x, threat=threat, eps=eps)
        is_box = isinstance(threat, Linf | Mask)
        if region.half_space is not None:
            ends = (lower.flatten(), upper.flatten()) if is_box else None
            minimum = CutMinimum(minimum, region.half_space, x.shape[1:], ends)
        backward = BackwardBounds(recording, minimum, self.tables.setdefault(x.shape[1:], Tables()))
        narrowing = RegionNarrowing(backward, region, exact_box=is_box)
        if self.narrow:
            recording.refine = narrowing
        interval = Interval(box.center, box.radius, box.ellipsoid, recording.add_input(terms))
        logits = traced.logit_bounds(
            cast_input(interval, rounding),
            rounding,
            observed=None if points is None else traced.observe(points),
        )
        return backward, logits, narrowing


def interval_margins(
    traced: TracedNetwork,
    x: Tensor,
    y: Tensor,
    threat: Threat,
    eps: Tensor | None,
    rounding: RoundingModel,
    *,
    points: Tensor | None = None,
) -> Tensor:
    """Return bounds (B, K) on the true logit minus each by intervals, for every threat of linear bounds.

    Args:
        traced, x, y, threat, eps, rounding, points: As of ``MarginBounds``.
    """
    lower, upper = allowed_box(x, threat, radii(x, threat, eps))
    box = Interval.from_bounds(lower, upper)
    interval = input_interval(x, threat, eps) if isinstance(threat, Linf | L2) else box
    return traced.margin_bounds(
        cast_input(interval, rounding),
        y,
        rounding,
        observed=None if points is None else traced.observe(points),
    )


def expected_seconds(model: Classifier, x: Tensor, threat: Threat) -> float:
    """Return about how many seconds ``CROWN`` takes for an example, by one pass of intervals.

    Args:
        model: The model.
        x: The example (1, *S).
        threat: What may be changed.

    Raises:
        ModelError: As of ``CROWN``.
    """
    with torch.no_grad():
        backward, _ = LinearMargins(narrow=False).backward_bounds(
            TracedNetwork.trace(model.net),
            x.to(model.device, torch.float64),
            threat,
            threat.eps,
            rounding_model(model.dtype),
        )
    values = rows = 0
    for operation in backward.recording.operations:
        values += operation.terms.numel()
        if operation.lines is not None:
            # a row back to the input for each value whose lines are apart
            rows += int(operation.lines.loose.sum()) * values
    return SECONDS_PER_VALUE * rows


def margin_rows(logits: Interval, y: Tensor) -> Tensor:
    """Return the true logit minus each, as rows (K, K) over the logits; of one logit z, those of (0, z)."""
    count = logits.center.shape[1]
    rows = torch.eye(max(2, count), dtype=logits.center.dtype, device=y.device)
    rows = rows[y] - rows
    return rows[:, 1:] if count == 1 else rows
