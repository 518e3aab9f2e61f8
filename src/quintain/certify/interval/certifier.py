"""The interval certifier: lower bounds on the margin over a ball by one pass, cheap and loose."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from quintain.certify.interval.domain import Interval, input_interval
from quintain.certify.interval.graph import TracedNetwork
from quintain.certify.interval.traced_bounds import MarginBounds, trace_bounds
from quintain.certify.outcome import CertificateOutcome
from quintain.certify.rounding import NO_ROUNDING, RoundingModel
from quintain.models.precision import without_autocast
from quintain.models.protocol import ClassifierLike
from quintain.results.literals import INTERVAL_BOUNDS
from quintain.threats.arguments import Array
from quintain.threats.threat import Threat


def worst_case_logits(
    traced: TracedNetwork,
    x: Tensor,
    y: Tensor,
    threat: Threat,
    *,
    eps: float | None = None,
    activations: list[Interval] | None = None,
) -> Tensor:
    r"""Compute worst-case logits (B, K) over the ball (Gowal et al., 2018), differentiable in the weights.

    .. math:: \hat z_j = -\min_{x' \in ball} (z_y(x') - z_j(x')), \qquad \hat z_y = 0

    in exact arithmetic up to the type of ``x``, without autocast: for training, not for proofs. Cross-entropy
    of them bounds the worst cross-entropy.

    Args:
        traced: ``TracedNetwork.trace(net)``.
        x, y: Inputs (B, *S) in the data box and labels (B,).
        threat: ``Linf`` or ``L2``.
        eps: A radius instead of the threat's.
        activations: Gets the interval of the inputs, and of what each ReLU is given, in order.
    """
    interval = input_interval(x, threat, eps)
    if activations is not None:
        activations.append(interval)
    with without_autocast(x.device.type):
        # minus the lower bound of z_y - z_j is the most by which z_j can be above z_y. Each j has a worst
        # input of its own, so that cross-entropy of all of them is an upper bound on that of any one input.
        bounds = traced.margin_bounds(interval, y, NO_ROUNDING, activations=activations)
        return -traced.score_margins(bounds, y, NO_ROUNDING)


class LayerCertifier(ABC):
    """What certifiers by bounds on a net's layers have in common: they differ in how they bound margins."""

    __slots__ = ()

    def __call__(
        self,
        model: ClassifierLike,
        x: Array,
        y: Array,
        threat: Threat | str,
        *,
        eps: Tensor | None = None,
    ) -> CertificateOutcome:
        """Certify inputs ``x`` (B, *S) with labels ``y`` (B,); ``eps`` (B,) replaces the threat's radius."""
        return self.trace(model)(x, y, threat, eps=eps)

    def trace(self, model: ClassifierLike) -> Callable[..., CertificateOutcome]:
        """Trace a model's operations once, for many calls; each checks that the model is unchanged."""
        return trace_bounds(model, self, self._margins())

    @abstractmethod
    def _margins(self) -> MarginBounds:
        """Return what bounds margins."""


@dataclass(frozen=True, slots=True)
class IntervalBounds(LayerCertifier):
    r"""Interval bounds on the margin of the model *that runs*.

    .. math:: z_y(x') - z_j(x') \ge m_j \quad \forall x' \in ball,
        \qquad certified \iff \min_{j \ne y} m_j > 0

    Boxes ``center +- radius`` are propagated through the layers in float64; to each radius the largest
    rounding error of the deployed operation is added, and the last linear layer is merged into margins. In L2
    the first linear layer uses the dual norm.

    Guarantee: if ``certified``, no input of the ball, of whatever type, makes the model predict another
    class, in whatever batch, on any device that sums in the model's type, in whatever order, whether it keeps
    numbers below the smallest normal one or takes them for zero. Bounds that are not finite certify nothing.

    Raises:
        ModelError: For a layer or an operation without a rule, by name; a model in training mode, not in
            float32 or float64, or that changes while it is certified; one that reads a value, in whatever
            thread, or does something else where gradients are on; and for what lets operations round more
            than their type does (``require_bounded_rounding``).
        DataError: For inputs outside the data box, or labels that are no classes.
        SettingError: For a threat that is not ``Linf`` or ``L2``, or radii ``eps`` that are negative or not
            one for each input.
        ContradictionError: If the model's answer at ``x`` itself lies outside its bounds, so that the bounds
            are of another function; or if what an operation, the last one included, returns at the first two
            inputs, or at two points of the ball round each, lies outside that operation's bounds, or the
            margins there lie below those that are proven.

    Source: Gowal et al., 2018, arXiv:1810.12715; Mirman et al., 2018 (ICML).
    """

    name: ClassVar[str] = "interval"
    summary: ClassVar[str] = "interval bounds through the layers, for Linf and L2"
    guarantee: ClassVar[str] = (
        "deterministic: no input of the ball changes the answer of the model that runs, its float32 rounding "
        "included"
    )
    title: ClassVar[str] = INTERVAL_BOUNDS
    supports: ClassVar[tuple[str, ...]] = ("linf", "l2")
    example: ClassVar[str] = "linf:4/255"
    default_rank: ClassVar[int] = 1

    def _margins(self) -> MarginBounds:
        return _interval_margins


def cast_input(interval: Interval, rounding: RoundingModel) -> Interval:
    """Return the interval of the model's inputs, after the cast of what it is given to its type."""
    return interval.widen(rounding.error_bound(1, interval.magnitude, interval.magnitude))


def _interval_margins(
    traced: TracedNetwork,
    x: Tensor,
    y: Tensor,
    threat: Threat,
    eps: Tensor | None,
    rounding: RoundingModel,
    *,
    correct: Tensor,  # noqa: ARG001
    points: Tensor | None = None,
) -> Tensor:
    """Bound margins by one pass of intervals, as ``MarginBounds`` says."""
    # the ball in float64, widened by the rounding of inputs to the model's type; the rounding of every later
    # operation is charged where it is propagated
    interval = cast_input(input_interval(x, threat, eps), rounding)
    return traced.margin_bounds(
        interval, y, rounding, observed=None if points is None else traced.observe(points)
    )
