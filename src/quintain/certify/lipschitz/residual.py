r"""Lipschitz constants of residual blocks as a whole, such as folded SDP-based layers.

For a block :math:`g(h) = h + A\, \sigma(W h + b)`, where the slopes of :math:`\sigma` lie in [0, 1], the sum
of the two branches' constants is at least 1, however much they cancel. Together they may be 1-Lipschitz.
"""

import math

import torch
from torch import Tensor, nn

from quintain.certify.interval.recording import Operation, Recording
from quintain.certify.lipschitz.norms import UNIT, norm_bound, spectral_norm_bound
from quintain.core.errors import ModelError

SLOPES_UP_TO_ONE = (nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.Tanh, nn.Sigmoid)
"""Layers whose slopes lie in [0, 1]."""

WEIGHT_ITERATIONS = 200
"""Power iterations for the weights of the dominance check, which hold for any weights."""


def residual_block(operation: Operation, recording: Recording) -> tuple[Operation, float] | None:
    """Return the input of a residual block that ends in this operation, and its constant; None for no block.

    A block is a sum of a value and of Linear, a layer of ``SLOPES_UP_TO_ONE`` and Linear again of that value.
    """
    if operation.affine is not torch.add or len(operation.sources) != 2:
        return None
    for place in (0, 1):
        skip, branch = (_skip_identities(operation.sources[k]) for k in (place, 1 - place))
        second = recording.layers.get(branch.index)
        # a sum that repeats one of the two along a dimension is another function
        same_shape = operation.sources[0].terms.shape == operation.sources[1].terms.shape
        if type(second) is not nn.Linear or not same_shape:
            continue
        middle = _skip_identities(branch.sources[0])
        if type(recording.layers.get(middle.index)) not in SLOPES_UP_TO_ONE:
            continue
        inner = _skip_identities(middle.sources[0])
        first = recording.layers.get(inner.index)
        if type(first) is nn.Linear and _skip_identities(inner.sources[0]) is skip:
            return skip, residual_constant(first.weight, second.weight)
    return None


def residual_constant(first: Tensor, second: Tensor) -> float:
    r"""Return an upper bound of the Lipschitz constant of :math:`h + A \sigma(W h + b)` in L2.

    With the multipliers :math:`t_i \ge 0` of the hidden units, u the change of :math:`\sigma` and d that of
    h, :math:`u_i ((W d)_i - u_i) \ge 0` for slopes in [0, 1], so that

    .. math:: \|d + A u\|^2 \le \|d\|^2 + 2 d^T (A + W^T T) u + u^T (A^T A - 2 T) u
        \le \big(1 + 2 \|A + W^T T\| \|W\| + \max(0, \kappa) \|W\|^2\big) \|d\|^2

    where :math:`\kappa` is at least the largest eigenvalue of :math:`A^T A - 2 T`, by weighted diagonal
    dominance (Gershgorin). Folded SDP-based layers have both terms 0, up to rounding.

    Args:
        first: W (hidden, features).
        second: A (features, hidden).

    Raises:
        ModelError: If the matrices are of no such shapes.

    Guarantee: never below the exact constant; float64's own rounding is charged.

    Source: Araujo, Havens, Delattre, Allauzen and Hu, 2023, arXiv:2303.03169 (theorem 1).
    """
    w, a = first.detach().double(), second.detach().double()
    if w.shape != a.T.shape:
        raise ModelError(
            f"a residual block of matrices {tuple(first.shape)} and {tuple(second.shape)}; expected (hidden, "
            "features) and (features, hidden)"
        )
    if not bool(w.isfinite().all() and a.isfinite().all()):
        return math.inf
    # multipliers: any are right; these make A + W^T T small where the columns of A follow the rows of W
    squares = w.square().sum(1).clamp(min=torch.finfo(torch.float64).tiny)
    t = (-(a * w.T).sum(0) / squares).clamp(min=0)
    left_over = a + w.T * t
    rounding = norm_bound(4 * UNIT * (a.abs() + w.T.abs() * t), (0, 1))
    coupling = float(spectral_norm_bound(left_over)) + 2 * float(rounding)
    # dominance: q^-1 (A^T A - 2 T) q has the same eigenvalues for all weights q > 0
    products = a.T @ a
    products = products.abs() + (len(a) + 4) * UNIT * (a.abs().T @ a.abs())
    q = _dominance_weights(products, t)
    rows = (products @ q) / q
    margin = 8 * (len(q) + 8) * UNIT
    kappa = max(0.0, float((rows * (1 + margin) - 2 * t * (1 - margin)).max()))
    norm = float(spectral_norm_bound(w))
    square = 1 + 2 * coupling * norm + kappa * norm**2
    # what overflows is no number, and bounds nothing
    is_finite = bool(rows.isfinite().all()) and math.isfinite(square)
    return math.sqrt(square) * (1 + 16 * UNIT) if is_finite else math.inf


def _dominance_weights(products: Tensor, t: Tensor) -> Tensor:
    """Return positive weights q (hidden,) under which products q <= 2 t q holds if any weights do."""
    scale = 2 * t.clamp(min=1e-300)
    q = torch.ones_like(t)
    for _ in range(WEIGHT_ITERATIONS):
        q = (products @ q) / scale + 1e-3 * q
        q = q / q.max().clamp(min=1e-300)
        q = q.nan_to_num(1.0, posinf=1.0).clamp(min=1e-12)
    return q


def _skip_identities(operation: Operation) -> Operation:
    """Return the operation whose values these are, behind casts and changes of shape alone."""
    while operation.affine is None and operation.lines is None and len(operation.sources) == 1:
        operation = operation.sources[0]
    return operation
