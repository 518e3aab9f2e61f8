r"""Upper bounds of spectral norms: never below the exact ones, with float64's own rounding charged.

Power iteration converges from below and certifies nothing. Gram iteration comes from above: for every t,

.. math:: \|A\|_2 = \|(A^* A)^{2^{t-1}}\|_2^{1/2^t} \le \|(A^* A)^{2^{t-1}}\|_F^{1/2^t}

(Delattre et al., 2023, arXiv:2305.16173). A convolution with zero padding is a part of one on a torus that is
larger by the padding, whose matrix the Fourier transform cuts into one small block for each frequency (Sedghi
et al., 2018, arXiv:1805.10408).
"""

import math

import torch
from torch import Tensor, nn

from quintain.certify.rounding import power_of_two_below

UNIT = 2.0**-53
"""Unit roundoff of float64."""

ITERATIONS = 12
"""Gram iterations: of n equal singular values, the worst case, the bound is n^(2^-13) times too large."""


SMALLEST_FLOAT64 = 2.0**-1074
"""The smallest positive number of float64."""


def norm_bound(vectors: Tensor, dims: int | tuple[int, ...]) -> Tensor:
    """Return the L2 norms of vectors over some dimensions, up to a few units of float64, none of them lost.

    They are scaled first, since squares of small numbers are 0.
    """
    scale = power_of_two_below(vectors.abs().amax(dims, keepdim=True))
    lengths = torch.linalg.vector_norm(vectors / scale, dim=dims)
    return lengths * scale.view_as(lengths) + SMALLEST_FLOAT64 * (lengths > 0)


def spectral_norm_bound(matrices: Tensor, iterations: int = ITERATIONS) -> Tensor:
    r"""Return upper bounds (...) of the spectral norms of matrices (..., m, n), real or complex, in float64.

    Each product errs by at most :math:`\gamma_n \|G\|_F^2` in the Frobenius norm, which is added where the
    product's norm is bounded, and each rescaling by two units.
    """
    wide = torch.complex128 if matrices.is_complex() else torch.float64
    current = matrices.to(wide)
    if current.shape[-2] < current.shape[-1]:
        current = current.mH  # the smaller of the two products
    unit = power_of_two_below(current.abs().amax((-2, -1)))
    current = current / unit[..., None, None]
    scales, slacks = [], []
    for step in range(iterations + 1):
        scale = torch.linalg.vector_norm(current, dim=(-2, -1)).clamp(min=torch.finfo(torch.float64).tiny)
        current = current / scale[..., None, None]
        scales.append(scale)
        if step < iterations:
            # a complex product is four real ones, and a norm of 1 is one up to a few units
            slacks.append(8 * (current.shape[-2] + 4) * UNIT)
            current = current.mH @ current
    # of a matrix of norm 1, up to the rounding of that norm
    bound = torch.ones_like(scales[-1]) + 8 * (current.shape[-1] ** 2 + 8) * UNIT
    for scale, slack in zip(scales[:0:-1], slacks[::-1], strict=True):
        bound = (scale * (bound + 8 * UNIT) * (1 + 8 * UNIT) + slack).sqrt() * (1 + 8 * UNIT)
    bound = scales[0] * (bound + 8 * UNIT) * (1 + 8 * UNIT) * unit + SMALLEST_FLOAT64
    bound = bound.nan_to_num(math.inf, posinf=math.inf)
    return torch.where(matrices.abs().amax((-2, -1)) == 0, 0.0, bound)


def conv_norm_bound(layer: nn.Conv2d, height: int, width: int, iterations: int = ITERATIONS) -> float:
    """Return an upper bound of the spectral norm of a zero-padded convolution of images of a size.

    The torus is as large as the image and the padding on one side, and a multiple of the stride: no tap
    reaches another pixel around it. A stride keeps some outputs, whose frequencies are sums of several.

    Args:
        layer: Any stride, padding, dilation and groups.
        height, width: Of its inputs, in pixels.
        iterations: Of ``spectral_norm_bound``.
    """
    weight = layer.weight.detach().double()
    if not bool(weight.isfinite().all()):
        return math.inf
    sides = [
        (_torus(size, layer, axis), layer.stride[axis], layer.dilation[axis], layer.kernel_size[axis])
        for axis, size in enumerate((height, width))
    ]
    down, right = (_phases(*side) for side in sides)
    strides = sides[0][1] * sides[1][1]
    worst = 0.0
    for kernel in weight.chunk(layer.groups):
        # |fl(F) - F| <= the roundings of a sum over the taps times their absolute values
        error = 8 * (kernel[0, 0].numel() + 8) * UNIT * float(norm_bound(kernel.abs().sum((2, 3)), (0, 1)))
        across = torch.einsum("oikl,bcl->oikbc", kernel.to(torch.complex128), right)
        # conjugate frequencies have the same norm: half of the rows suffice
        for row in down[: len(down) // 2 + 1]:
            # (frequency, output, input, alias down, alias right), as a matrix over all aliases of an input
            symbols = torch.einsum("oikbc,ak->boiac", across, row).flatten(2) / math.sqrt(strides)
            worst = max(worst, float(spectral_norm_bound(symbols, iterations).max()) + error)
    return worst * (1 + 8 * UNIT)


def _torus(size: int, layer: nn.Conv2d, axis: int) -> int:
    """Return the length of a torus along one axis, on which no tap reaches a pixel from its other side."""
    reach = layer.dilation[axis] * (layer.kernel_size[axis] - 1)
    if isinstance(layer.padding, str):
        padding = (reach + 1) // 2 if layer.padding == "same" else 0
    else:
        padding = layer.padding[axis]
    # outputs past the image, where the padding is wider than the kernel, are further places of the torus
    total = size + max(padding, 2 * padding - reach)
    return -(-total // layer.stride[axis]) * layer.stride[axis]


def _phases(total: int, stride: int, dilation: int, taps: int) -> Tensor:
    """Return the phase of each tap at each frequency of one axis, (total / stride, stride, taps).

    Frequencies that a stride takes for one stand beside each other.
    """
    frequency = torch.arange(total // stride)[:, None] + torch.arange(stride) * (total // stride)
    turns = frequency[..., None] * dilation * torch.arange(taps) % total
    angle = turns.double() * (2 * math.pi / total)
    return torch.complex(angle.cos(), angle.sin())


def pool_overlap(kernel: int, stride: int, dilation: int = 1) -> int:
    """Return in how many windows a pixel lies at most, along one axis."""
    return min(kernel, -(-(dilation * (kernel - 1) + 1) // stride))
