"""How each example enters the clipped sum: the one place where a record's influence is bounded."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from quintain.dp.capture.captured_pass import CapturedPass
from quintain.dp.per_example.grads import PerExampleGrads
from quintain.dp.step.clipping import ClippingMethod, global_norms


@dataclass(frozen=True, slots=True)
class ClipStatistics:
    """Norms and clip factors of one pass, for statistics.

    Args:
        norms: Euclidean norm of each example's gradient before clipping, (B,) float64; private.
        clip_factors: The least that a part of it was multiplied by, (B,) float64; private.
    """

    norms: Tensor
    clip_factors: Tensor


def clipping_weights(
    parameters: Sequence[nn.Parameter], captured: CapturedPass, clip: ClippingMethod, *, mean: bool
) -> tuple[dict[nn.Parameter, PerExampleGrads], Tensor, ClipStatistics]:
    r"""Work out how each example enters the clipped sum: gradients by parameter, weights, and statistics.

    .. math:: S = \sum_i f_i\, g_i

    The weights (P, B) are the clip factors, times the batch size where the loss was a mean. An example whose
    gradient is not finite gets weight 0, and its gradient is set to zero, since 0 * inf is NaN.

    Args:
        parameters: In the order of the optimizer; those that the pass did not use are not among the
            gradients.
        captured: A pass after its backward pass.
        clip: How to bound.
        mean: Whether the loss was a mean over the pass' examples, so that their gradients arrive divided by
            their number.

    Source: Abadi et al., 2016, arXiv:1607.00133; norms without gradients: Goodfellow, 2015, arXiv:1510.01799.
    """
    batch = captured.batch_size or 0
    # a mean loss gives gradients divided by the batch size: norms and weights undo it
    scale = float(batch) if mean else 1.0
    grads = captured.gradients
    none = torch.zeros(batch, dtype=torch.float64, device=parameters[0].device)
    norms = (
        scale
        * torch.stack(
            [grads[parameter].squared_norms() if parameter in grads else none for parameter in parameters]
        ).sqrt()
    )
    finfo = max((torch.finfo(parameter.dtype) for parameter in parameters), key=lambda info: info.eps)
    factors = clip.clip_factors(norms, finfo).expand(len(parameters), -1)
    total = global_norms(norms)
    not_finite = ~total.isfinite()
    if not_finite.any():
        grads = {parameter: gradient.zeroed_where(not_finite) for parameter, gradient in grads.items()}
        factors = factors.masked_fill(not_finite, 0)
    return grads, scale * factors, ClipStatistics(total, factors.amin(0))
