"""The clipped sum of per-example gradients: the one place where a record's influence is bounded."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from quintain.core.errors import PrivacyError
from quintain.dp.capture import Layer, Pass
from quintain.dp.rules import Gradients, Instantiated, sum_of

AT_ONCE = 64
"""Examples whose gradients are worked out together: few enough that they stay in the processor's caches."""


@dataclass(frozen=True, slots=True)
class ClippedSum:
    """What a pass adds to the step.

    Args:
        total: Sum of the clipped gradients, by parameter.
        norms: Euclidean norm of each example's gradient before clipping, (B,) float64; private.
        factors: What each was multiplied by, (B,) float64; private.
    """

    total: dict[nn.Parameter, Tensor]
    norms: Tensor
    factors: Tensor


def factors(norms: Tensor, max_grad_norm: float, precision: torch.finfo) -> Tensor:
    r"""What brings gradients of these norms down to ``max_grad_norm``, (B,) float64.

    .. math:: f_i = \min(1, C / n_i), \qquad f_i = 0 \text{ where } n_i \text{ is not finite}

    Rounded down by a few units of ``precision`` (that of the gradients), so that no norm comes out above C (1 + 1e-6); also 0 where it
    is too small to be told exactly in that precision.
    """
    shrunk = (max_grad_norm * (1 - 4 * precision.eps) / norms).clamp(max=1)
    return torch.where(norms.isfinite() & (shrunk >= precision.tiny), shrunk, 0)


def clipped_sum(turn: Pass, max_grad_norm: float, *, mean: bool) -> ClippedSum:
    r"""Clip each example's gradient, over all layers together, and add them up.

    .. math:: n_i^2 = \sum_{\text{layers}} \|g_i\|^2, \qquad S = \sum_i f_i\, g_i

    Args:
        turn: A pass after its backward pass.
        max_grad_norm: C.
        mean: Whether the loss was a mean over the pass' examples, so that their gradients arrive divided by their number.

    Raises:
        PrivacyError: If a layer's rule does not give all of its trainable parameters, and these alone.

    Source: Abadi et al., 2016, arXiv:1607.00133; norms without gradients: Goodfellow, 2015, arXiv:1510.01799.
    """
    scale = float(turn.batch or 0) if mean else 1.0
    parts = [_clipped(piece, max_grad_norm, scale) for piece in turn.pieces(AT_ONCE)]
    total = {parameter: sum_of(part.total[parameter] for part in parts) for parameter in parts[0].total}
    return ClippedSum(total, torch.cat([part.norms for part in parts]), torch.cat([part.factors for part in parts]))


def _clipped(turn: Pass, max_grad_norm: float, scale: float) -> ClippedSum:
    """The same for some examples, whose gradients arrive divided by ``scale``."""
    gradients = _gradients(turn)
    norms = scale * sum_of(part.squared() for _, part in gradients).sqrt()
    dtypes = {layer.parameter(name).dtype for layer, _ in gradients for name in layer.trainable}
    precision = max(map(torch.finfo, dtypes), key=lambda info: info.eps)
    multipliers = factors(norms, max_grad_norm, precision)
    if not norms.isfinite().all():
        gradients = _gradients(_without(turn, ~norms.isfinite()))
    total: dict[nn.Parameter, Tensor] = {}
    for layer, part in gradients:
        sums = part.total(scale * multipliers)
        if set(sums) != layer.trainable:
            raise PrivacyError(
                f"the rule of layer {layer.name!r} gives gradients of {sorted(sums)}, and its trainable parameters are "
                f"{sorted(layer.trainable)}; expected all of them and no others"
            )
        total |= {layer.parameter(name): value for name, value in sums.items()}
    return ClippedSum(total, norms, multipliers)


def _gradients(turn: Pass) -> list[tuple[Layer, Gradients]]:
    return [
        (layer, layer.rule(layer.module, calls, layer.trainable) if turn.batch else _none(layer)) for layer, calls in turn.calls.items()
    ]


def _none(layer: Layer) -> Gradients:
    """The gradients of an empty batch."""
    return Instantiated({name: torch.zeros_like(layer.parameter(name))[None][:0] for name in layer.trainable})


def _without(turn: Pass, gone: Tensor) -> Pass:
    """The same pass with all that belongs to some examples set to zero: zero times infinity would be NaN."""

    def cleared(x: Tensor) -> Tensor:
        return x.masked_fill(gone.view(-1, *(1 for _ in x.shape[1:])), 0)

    return Pass(turn.draw, {layer: [(cleared(a), cleared(g)) for a, g in calls] for layer, calls in turn.calls.items()}, turn.batch)
