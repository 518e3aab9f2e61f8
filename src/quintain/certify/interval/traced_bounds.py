"""Certificates of one traced model by lower bounds on its margins, whatever computes these."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn

from quintain.certify.attributes import AttributeSnapshot
from quintain.certify.conditions import (
    require_bounded_rounding,
    require_own_type,
    require_readable,
    require_unchanged,
)
from quintain.certify.interval.agreement import (
    require_no_value_read,
    require_same_logits,
    require_same_operations,
)
from quintain.certify.interval.graph import TracedNetwork
from quintain.certify.interval.observer import require_margins_kept
from quintain.certify.interval.smooth import LIBRARY_ROUNDINGS
from quintain.certify.outcome import CertificateOutcome, require_labels
from quintain.certify.rounding import RoundingModel, rounding_model
from quintain.core.errors import ContradictionError, ModelError, SettingError
from quintain.losses.margin import margin
from quintain.models.classifier import Classifier
from quintain.models.modules import fill_cached_properties
from quintain.models.protocol import ClassifierLike
from quintain.threats.arguments import Array, to_inputs, to_labels, to_threat
from quintain.threats.broadcast import channels_by_pixel, expand_pixels
from quintain.threats.l0 import L0
from quintain.threats.l1 import L1
from quintain.threats.l2 import L2
from quintain.threats.mask import Mask
from quintain.threats.shapes import shape_mask_like
from quintain.threats.threat import Threat, check_in_box

BATCH_SIZE = 64
"""Examples whose bounds are computed at once."""

ASSUMPTIONS = (
    "changes stay inside the data box; check that inputs are clipped to it before the model sees them",
    "sums and products round each to the model's type: autocast, settings that lower float32 precision, "
    "Winograd and FFT convolutions and hooks were looked for here, and were not found; look again where the "
    "model is deployed, with quintain.models.precision.lowered_precision(device)",
    "the forward does the same for every batch: it was read twice, once with gradients on, and was seen to "
    "do the same operations at a few inputs, with gradients and without, and in all its threads for inputs "
    "without values, so that it reads none; it reads no clock, file or global state, and does not tell these "
    "looks from its use; check its source",
)

LIBRARY_ASSUMPTION = (
    f"sigmoid, tanh, the error function and the exponential are off by at most {LIBRARY_ROUNDINGS} units of "
    "roundoff, which no standard promises; PyTorch and onnxruntime on the CPU were seen to keep to a fifth"
)
"""What is assumed of a net that uses one of these."""


class MarginBounds(Protocol):
    """Lower bounds on margins by the operations of a net."""

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
        """Return lower bounds (B, K) on the true logit minus each, with 0 at the true class.

        Args:
            traced: The net's operations.
            x: Inputs (B, *S) in the data box, in float64.
            y: Labels (B,).
            threat: What may be changed.
            eps: A radius for each example (B,) instead of the threat's.
            rounding: How the net that runs rounds.
            correct: (B,) bool, whether the model predicts the label: nothing can be proven elsewhere.
            points: Several points of each example's ball in turn (P * B, *S), at which the values of
                operations are held against their bounds.

        Raises:
            ContradictionError: If one of those lies outside.
        """


def trace_bounds(model: ClassifierLike, certifier: object, margins: MarginBounds) -> "TracedBounds":
    """Trace a model's operations for a certifier by bounds on its layers.

    Args:
        model: The model.
        certifier: Who asks, for messages.
        margins: Its bounds.

    Raises:
        ModelError: For what is no ``Classifier``, and for a net that is not read or rounds more than its
            type does.
    """
    given: object = model
    if isinstance(given, nn.Module):
        raise ModelError(
            f"a {type(given).__name__}; expected a model: {type(certifier).__name__}()(Classifier(net), ...)"
        )
    if not isinstance(model, Classifier):
        raise ModelError(
            f"{getattr(certifier, 'title', 'bounds')} read the layers of a Classifier; got a "
            f"{type(model).__name__}, whose layers are not seen: certify the smoothed model, which is only "
            "asked for answers (--certifier smoothing --threat l2:0.25)"
        )
    require_readable(model.net)
    fill_cached_properties(model.net)
    before, check = model.hash, partial(require_bounded_rounding, model.net, model.device, model.dtype)
    check()
    with torch.inference_mode(False):
        traced = TracedNetwork.trace(model.net, check)
    if traced.convolves:  # a function, which no module shows
        check = partial(require_bounded_rounding, model.net, model.device, model.dtype, has_convolutions=True)
        check()
    return TracedBounds(model, traced, check, before, margins)


@dataclass(frozen=True, slots=True, eq=False)
class TracedBounds:
    """Bounds of one model, whose operations were traced before.

    Args:
        model: The model.
        traced: Its operations.
        check: Refuses settings under which they round more than their type does.
        model_hash: The model's hash when it was traced.
        margins: The bounds.
        checked_shapes: Shapes of examples for which it was checked that no value is read and that gradients
            change nothing.
    """

    model: Classifier
    traced: TracedNetwork
    check: Callable[[], None]
    model_hash: str
    margins: MarginBounds
    checked_shapes: set[torch.Size] = field(default_factory=set)

    def __call__(
        self, x: Array, y: Array, threat: Threat | str, *, eps: Tensor | None = None
    ) -> CertificateOutcome:
        """Certify as ``IntervalBounds`` does.

        Raises:
            ModelError: Also if the model is not the one that was read.
        """
        threat, x, y = to_threat(threat), to_inputs(x, self.model.dtype), to_labels(y)
        check_in_box(threat, x)
        if eps is not None and not isinstance(eps, Tensor):
            raise SettingError(
                f"eps = {eps!r} ({type(eps).__name__}); expected a tensor ({len(x)},) of one radius per "
                "input; one for all is the threat's"
            )
        if eps is not None and not (eps.shape == x.shape[:1] and bool((eps >= 0).all())):
            raise SettingError(
                f"eps of shape {tuple(eps.shape)}, {eps}; expected a radius from 0 up for each of {len(x)} "
                "inputs"
            )
        require_readable(self.model.net)
        self.check()
        attributes = AttributeSnapshot(self.model.net)
        with torch.inference_mode(False), torch.no_grad():  # in inference mode other operations would run
            outcome = self._outcome(x, y, threat, eps)
        require_unchanged(self.model, self.model_hash, attributes)
        return outcome

    def _outcome(self, x: Tensor, y: Tensor, threat: Threat, eps: Tensor | None) -> CertificateOutcome:
        model, rounding = self.model, rounding_model(self.model.dtype)
        if len(x):
            require_labels(x, y, model(x[:1]).shape[1])
        # Bounds are computed in float64 for the model's input, the example rounded once to the model's type.
        bounds, clean_margins = [], []
        for rows in torch.arange(len(x), device=x.device).split(BATCH_SIZE) if len(x) else ():
            clean_margins.append(-margin(model(x[rows]).double(), y[rows]))
            found = self.margins(
                self.traced,
                x[rows].to(model.device, torch.float64),
                y[rows].to(model.device),
                threat,
                None if eps is None else eps[rows],
                rounding,
                correct=(clean_margins[-1] > 0).to(model.device),
            )
            found = self.traced.score_margins(found, y[rows].to(model.device), rounding)
            bounds.append(smallest_margin(found, y[rows].to(model.device)).to(x.device))
        require_own_type(model.net)
        if len(x):
            self._require_agreement(x[:2], y[:2], threat, None if eps is None else eps[:2])
        lower, clean_margin = (
            torch.cat([x.new_zeros(0, dtype=torch.float64), *bounds]),
            torch.cat([x.new_zeros(0, dtype=torch.float64), *clean_margins]),
        )
        failed = ~clean_margin.isfinite()
        crossed = ~failed & (lower > clean_margin)
        if crossed.any():
            row = int(crossed.nonzero()[0])
            raise ContradictionError(
                f"interval bounds prove a margin of at least {lower[row]:g} for example {row}, but the "
                f"model's own is {clean_margin[row]:g}: the bounds are not of the function that runs. Look "
                "for hooks, or layers that compute something else than their type says"
            )
        lower = torch.where(failed, -torch.inf, lower)
        return CertificateOutcome(
            certified=lower > 0,
            margin=lower,
            radius=None,
            forwards=torch.full_like(y, 2),
            assumptions=(*ASSUMPTIONS, *[LIBRARY_ASSUMPTION] * self.traced.rests_on_library),
            failed=failed,
        )

    def _require_agreement(self, x: Tensor, y: Tensor, threat: Threat, eps: Tensor | None) -> None:
        """Refuse a net that does other operations than were traced.

        It is compared at a few inputs and at two points of each ball.

        Raises:
            ModelError: If it does: a forward may branch on what an input is, and so do one thing when read
                and another when run. The first time for a shape it is also run with gradients, and on inputs
                without values.
            ContradictionError: If an operation returns what its bounds exclude, or the model answers with a
                smaller margin than is proven.
        """
        model, traced = self.model, self.traced
        x = x.to(model.device, torch.float64)
        z = torch.cat([x, *_opposite_points(x, threat, eps)]).to(model.dtype)
        run, read = require_same_operations(model, traced, z, self.check)
        y, rounding = y.to(model.device), rounding_model(model.dtype)
        bounds = self.margins(
            traced, x, y, threat, eps, rounding, correct=torch.ones_like(y, dtype=torch.bool), points=z
        )
        bounds = traced.score_margins(bounds, y, rounding)
        require_margins_kept(bounds, run, y)
        require_same_logits(model.name, run, read)
        if x.shape[1:] not in self.checked_shapes:
            require_no_value_read(model, traced, z, self.check)
            self.checked_shapes.add(x.shape[1:])


def radii(x: Tensor, threat: Threat, eps: Tensor | None) -> Tensor:
    """Return the radius of each example of ``x`` (B,), in float64: the threat's where ``eps`` gives none."""
    given = torch.tensor(threat.eps, dtype=torch.float64) if eps is None else eps
    return given.to(x.device, torch.float64).expand(len(x))


def _opposite_points(x: Tensor, threat: Threat, eps: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return two points of the ball of each example, on opposite sides of it."""
    radius = radii(x, threat, eps).reshape(-1, *[1] * (x.ndim - 1))
    # all coordinates move alike; in L0 the first pixels do
    count = x.shape[1:].numel()
    step = radius / (math.sqrt(count) if isinstance(threat, L2) else count if isinstance(threat, L1) else 1)
    if isinstance(threat, L0):
        pixels = torch.arange(channels_by_pixel(x).shape[2], device=x.device).expand(len(x), -1)
        step = torch.where(expand_pixels(pixels, x) < radius, threat.high - threat.low, 0.0)
    if isinstance(threat, Mask):
        step = torch.where(shape_mask_like(threat.shape, x), radius, 0.0)
    return (x - step).clamp(min=threat.low), (x + step).clamp(max=threat.high)


def smallest_margin(bounds: Tensor, y: Tensor) -> Tensor:
    """Return the smallest margin bound against another class (B,); -inf where a bound is not finite."""
    lowest = bounds.scatter(1, y[:, None], torch.inf).amin(1)
    return torch.where(bounds.isfinite().all(1), lowest, -torch.inf)
