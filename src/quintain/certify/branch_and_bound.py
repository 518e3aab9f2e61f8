"""Complete verification by branch and bound: proofs, counterexamples, or neither where its time runs out."""

import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from quintain.certify.attributes import AttributeSnapshot
from quintain.certify.conditions import require_unchanged
from quintain.certify.crown import GUARANTEE, SUPPORTS, LinearMargins, interval_margins, margin_rows
from quintain.certify.descent import descend
from quintain.certify.interval.certifier import LayerCertifier
from quintain.certify.interval.domain import Interval
from quintain.certify.interval.graph import TracedNetwork
from quintain.certify.interval.recording import Operation
from quintain.certify.interval.traced_bounds import TracedBounds, smallest_margin, trace_bounds
from quintain.certify.linear.backward import BackwardBounds
from quintain.certify.linear.parts import are_proven
from quintain.certify.linear.region import Region, RegionNarrowing
from quintain.certify.linear.rivals import RivalSearch
from quintain.certify.linear.search import SearchResult
from quintain.certify.outcome import CertificateOutcome
from quintain.certify.rounding import RoundingModel, rounding_model
from quintain.core.errors import ContradictionError, SettingError
from quintain.losses.margin import margin
from quintain.models.classifier import Classifier
from quintain.models.protocol import ClassifierLike
from quintain.results.literals import BRANCH_AND_BOUND
from quintain.threats.arguments import Array, to_inputs, to_labels, to_threat
from quintain.threats.l0 import L0
from quintain.threats.threat import Threat, contains

MIN_MARGIN_FRACTION = 2.0**-16
"""Fraction of the margin without a change that a proof shows the margin to be above everywhere."""

CLEARLY_MORE = 1 + 2.0**-10
"""A factor: so many times the margin without a change is more than it, whatever rounding does."""

DESCENT_STEPS = 6
"""Gradient steps on the model from each input at which a bound is least."""


@dataclass(frozen=True, slots=True)
class BranchAndBound(LayerCertifier):
    r"""Prove or refute each example that ``CROWN`` leaves open, by branch and bound over ReLUs.

    The threat is split by the sign of what a ReLU is given until linear bounds prove every part,

    .. math:: threat = \bigcup_i part_i, \qquad
        certified \iff \min_i \min_{x' \in part_i} z_y(x') - z_j(x') > 0 \quad \forall j \ne y

    or until the model itself gets an input wrong at which such a bound is least. An example that neither is
    found for stays open. Before a part is split, all layers are bounded over those of its inputs alone at
    which the margin may still be 0. Of a proof so found, ``margin`` tells no more than that it is positive.

    Guarantee: as of ``CROWN``; and a ``counterexample`` lies in the threat, and the model gets it wrong by
    itself. Within ``seconds`` more or fewer examples are decided on another machine; nothing false is.

    Args:
        seconds: Most seconds for an example.
        max_bounds: Most bounds of parts for an example: what decides first where runs are to repeat.

    Raises:
        SettingError: If ``seconds`` or ``max_bounds`` are not positive.
        ModelError, DataError, ContradictionError: As of ``CROWN``.

    Source: Bunel et al., 2020, arXiv:1909.06588; Wang et al., 2021, arXiv:2103.06624; De Palma et al., 2021,
        arXiv:2104.06718; Kotha et al., 2023, arXiv:2302.01404; Zhou et al., 2025, arXiv:2512.11087.
    """

    name: ClassVar[str] = "branch-and-bound"
    summary: ClassVar[str] = "branch and bound over ReLUs: proves or refutes what linear bounds leave open"
    guarantee: ClassVar[str] = GUARANTEE
    title: ClassVar[str] = BRANCH_AND_BOUND
    supports: ClassVar[tuple[str, ...]] = SUPPORTS
    example: ClassVar[str] = "linf:4/255"
    default_rank: ClassVar[int] = 6
    cost: ClassVar[str] = "expensive"

    seconds: float = 10.0
    max_bounds: int = 20_000

    def __post_init__(self) -> None:
        if not (self.seconds > 0 and self.max_bounds > 0):
            raise SettingError(
                f"seconds = {self.seconds:g} and max_bounds = {self.max_bounds}; expected numbers above 0 "
                "for each example"
            )

    def trace(self, model: ClassifierLike) -> "TracedSearch":
        """Trace a model's operations once, for many calls; each checks that the model is unchanged."""
        margins = self._margins()
        return TracedSearch(trace_bounds(model, self, margins), self, margins)

    def _margins(self) -> "SearchMargins":
        return SearchMargins(narrow=True)


@dataclass(frozen=True, slots=True, eq=False)
class SearchMargins(LinearMargins):
    """Bounds of margins by intervals; by linear bounds where values are checked against them.

    Args:
        kept: Linear bounds over the whole threat, by example and radius: those of the last few examples.
    """

    kept: dict[tuple[bytes, float], tuple[BackwardBounds, Interval, RegionNarrowing]] = field(
        default_factory=dict
    )

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
        if points is None:
            return interval_margins(traced, x, y, threat, eps, rounding)
        self.kept.clear()
        return LinearMargins.__call__(
            self, traced, x, y, threat, eps, rounding, correct=correct, points=points
        )

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
        """Return bounds as ``LinearMargins`` does, those over the whole threat only once."""
        if region.half_space is not None or region.bounds:
            return LinearMargins.region_bounds(self, traced, x, threat, eps, rounding, region)
        key = x.cpu().numpy().tobytes(), eps
        found = self.kept.get(key)
        if found is None or points is not None:
            found = LinearMargins.region_bounds(self, traced, x, threat, eps, rounding, region, points=points)
        if points is not None:
            self.kept[key] = found
        return found


@dataclass(frozen=True, slots=True, eq=False)
class TracedSearch:
    """Branch and bound on one model, whose operations were traced before.

    Args:
        bounds: Its bounds by intervals, which come first.
        settings: How much is searched.
        margins, quick: The linear bounds that are searched from, in float64 and in float32.
        checked_shapes: Shapes of examples of which one was checked against what a search says of it.
    """

    bounds: TracedBounds
    settings: BranchAndBound
    margins: SearchMargins
    quick: LinearMargins = field(default_factory=lambda: LinearMargins(narrow=False))
    checked_shapes: set[torch.Size] = field(default_factory=set)

    def __call__(
        self, x: Array, y: Array, threat: Threat | str, *, eps: Tensor | None = None
    ) -> CertificateOutcome:
        """Certify as ``BranchAndBound`` does."""
        outcome = self.bounds(x, y, threat, eps=eps)
        model = self.bounds.model
        threat, x, y = to_threat(threat), to_inputs(x, model.dtype), to_labels(y)
        attributes = AttributeSnapshot(model.net)
        lower, forwards = outcome.margin.clone(), outcome.forwards.clone()
        points = torch.full_like(x, torch.nan)
        with torch.inference_mode(False), torch.no_grad():
            clean = -margin(model(x).double(), y) if len(x) else lower
            is_open = ~outcome.certified & ~outcome.failed & (clean.to(lower.device) > 0)
            for row in is_open.nonzero().squeeze(1).tolist():
                one = slice(row, row + 1)
                ball = threat
                if eps is not None:
                    ball = replace(threat, eps=float(eps[row]))  # type: ignore[type-var]
                found = self._search(x[one], y[one], ball)
                forwards[row] += found.bounds
                if found.point is not None:
                    points[row] = found.point.to(points.device)
                    continue
                if found.margin > float(clean[row]):
                    raise ContradictionError(
                        f"branch and bound proves a margin of at least {found.margin:g} for example {row}, "
                        f"but the model's own is {float(clean[row]):g}. Please report the model and the input"
                    )
                lower[row] = max(float(lower[row]), found.margin)
        require_unchanged(model, self.bounds.model_hash, attributes)
        return replace(outcome, certified=lower > 0, margin=lower, forwards=forwards, counterexample=points)

    def _search(self, x: Tensor, y: Tensor, threat: Threat) -> SearchResult:
        """Search for a proof or a counterexample of one example (1, *S)."""
        model, traced = self.bounds.model, self.bounds.traced
        rounding = rounding_model(model.dtype)
        ends = time.monotonic() + self.settings.seconds
        at, label = x.to(model.device, torch.float64), y.to(model.device)
        backward, logits, narrowed = self.margins.region_bounds(
            traced, at, threat, threat.eps, rounding, Region()
        )
        assert logits.operation is not None
        rows = margin_rows(logits, label)
        by_intervals = interval_margins(traced, at, label, threat, None, rounding)[0]
        bounds = backward.lower(logits.operation, rows)
        # NaN bounds nothing
        bounds = torch.where(bounds > by_intervals, bounds, by_intervals)
        # what linear bounds prove already needs no search
        is_rival = torch.arange(len(rows), device=rows.device) != label
        is_open = is_rival & ~are_proven(bounds)
        if not bool(is_open.any()):
            found = SearchResult(torch.inf, None, 0)
        else:
            refute = partial(refuting_input, model, x.to(model.device), label, threat)
            plain, _ = self.quick.backward_bounds(traced, at.float(), threat, threat.eps, rounding)
            search = RivalSearch(
                lambda region: self._propagate(at, threat, region),
                plain,
                root=narrowed.build_region(backward.recording),
                limit=MIN_MARGIN_FRACTION * float(-margin(model(x.to(model.device)).double(), label)),
                refute=refute,
            )
            found = search.run(rows[is_open], self.settings.max_bounds, ends)
            if found.margin > 0 and at.shape[1:] not in self.checked_shapes and traced.scores is None:
                self.checked_shapes.add(at.shape[1:])
                rival = int(is_open.nonzero()[0])
                answer = model(x.to(model.device))[0].double()
                _require_consistent(search, rows[rival : rival + 1], float(answer[label] - answer[rival]))
        if found.point is not None:
            return found
        # of what the model returns, which may be softmax of these logits
        bounds = torch.where(is_open, bounds.clamp(min=found.margin), bounds).masked_fill(~is_rival, 0.0)[
            None
        ]
        scores = traced.score_margins(bounds, label, rounding)
        return replace(found, margin=float(smallest_margin(scores, label)))

    def _propagate(
        self, x: Tensor, threat: Threat, region: Region
    ) -> tuple[BackwardBounds, Operation, Region]:
        """Bound one example (1, *S) over a region, as ``Propagate`` says."""
        backward, logits, narrowed = self.margins.region_bounds(
            self.bounds.traced, x, threat, threat.eps, rounding_model(self.bounds.model.dtype), region
        )
        assert logits.operation is not None
        return backward, logits.operation, narrowed.build_region(backward.recording)


def _require_consistent(search: RivalSearch, row: Tensor, clean: float) -> None:
    """Refuse a search that proves more of a margin than the example has without a change.

    The example itself is then among the inputs that are looked for, so that no bound may exclude it.

    Args:
        search: Of the example.
        row: The margin (1, K), over the logits.
        clean: What it is without a change.

    Raises:
        ContradictionError: If it does.
    """
    limit = clean * CLEARLY_MORE
    if search.proves_more(row, limit):
        raise ContradictionError(
            f"branch and bound proves a margin above {limit:g}, but the model's own is {clean:g}. Please "
            "report the model and the input"
        )


def refuting_input(model: Classifier, x: Tensor, y: Tensor, threat: Threat, near: Tensor) -> Tensor | None:
    """Return an allowed input (*S) that the model gets wrong by itself, if one is found; None else.

    Args:
        model: The model.
        x, y: One example (1, *S) and its class (1,).
        threat: What may be changed.
        near: Inputs (N, *S) to begin at, moved into the threat.
    """
    clean, label = x.expand(len(near), *x.shape[1:]), y.expand(len(near))
    size = threat.eps if isinstance(threat, L0) else threat.eps / 4

    def move(z: Tensor, gradient: Tensor, _: int) -> Tensor:
        return threat.project(z + threat.steepest_step(gradient, size), clean)

    def wrong_alone(z: Tensor, error: Tensor) -> Tensor | None:
        for row in ((error > 0) & contains(threat, z, clean)).nonzero().squeeze(1).tolist():
            alone = z[row : row + 1]
            if bool(margin(model(alone), y) > 0):
                return alone[0]
        return None

    begin = threat.project(near.nan_to_num(threat.low).to(x.dtype), clean)
    return descend(begin, lambda z: margin(model(z), label), move, wrong_alone, DESCENT_STEPS)
