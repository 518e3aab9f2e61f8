r"""How far a change of the input may move the values of each operation, by Lipschitz constants.

For an operation k let :math:`f_k` be its values in exact arithmetic. For all x' with
:math:`\|x' - x\|_2 \le \varepsilon`,

.. math:: \|f_k(x') - f_k(x)\|_2 \le L_k\, \varepsilon, \qquad
    \|v_k(x') - f_k(x')\|_2 \le E_k

where v are the values of the model that runs. Both follow the graph: of an affine operation with the matrices
:math:`A_i` of its sources, :math:`L = \sum_i \|A_i\|_2 L_i` and :math:`E = \sum_i \|A_i\|_2 E_i + \|s\|_2`,
where s bounds the operation's own rounding; nonlinear layers multiply by their constant.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from quintain.certify.interval.layer_bounds import WITHOUT_BOUNDS
from quintain.certify.interval.recording import Operation, Recording
from quintain.certify.lipschitz.norms import (
    conv_norm_bound,
    norm_bound,
    pool_overlap,
    spectral_norm_bound,
)
from quintain.certify.lipschitz.residual import residual_block
from quintain.certify.rounding import FLOAT64_SAFETY_FACTOR, RoundingModel
from quintain.core.errors import ModelError

SLACK = 1 + 2.0**-40
"""Factor on constants and radii, which pays for the few float64 operations that compute them."""


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def max_pool_constant(layer: nn.MaxPool2d) -> float:
    """Return the root of the number of windows that a pixel lies in: 1 where they do not overlap."""
    kernel, stride, dilation = map(_pair, (layer.kernel_size, layer.stride, layer.dilation))
    return math.sqrt(
        math.prod(pool_overlap(k, s, d) for k, s, d in zip(kernel, stride, dilation, strict=True))
    )


CONSTANTS: dict[type[nn.Module], Callable[[Any], float]] = {
    nn.ReLU: lambda _layer: 1.0,
    nn.ReLU6: lambda _layer: 1.0,
    nn.Hardtanh: lambda _layer: 1.0,
    nn.LeakyReLU: lambda layer: max(1.0, abs(layer.negative_slope)),
    nn.Sigmoid: lambda _layer: 0.25,
    nn.Tanh: lambda _layer: 1.0,
    nn.GELU: lambda _layer: 1.13,  # the largest slope is 1.129, at the root of 2, of both forms
    nn.MaxPool2d: max_pool_constant,
}
"""Lipschitz constants of nonlinear layers, in L2."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What is known of an operation's values.

    Args:
        constant: L, from the input to them.
        error: E of each example (B,), the reference's own float64 rounding included.
        reference: Values at the examples themselves in exact arithmetic, up to ``error`` (B, *S).
    """

    constant: float
    error: Tensor
    reference: Tensor


@dataclass(slots=True)
class Growth:
    """Reaches of the operations of one recording, computed when they are needed.

    Args:
        recording: The operations; the first one is the input.
        x: Examples (B, *S), in float64.
        eps: Radius of each (B,).
        norms: Of each operation, for each source; filled once for all examples of a shape.
        rounding: How the model that runs rounds.
        blocks: Of each sum, the residual block that ends in it, if any.
    """

    recording: Recording
    x: Tensor
    eps: Tensor
    norms: dict[int, tuple[float, ...]]
    rounding: RoundingModel
    blocks: dict[int, tuple[Operation, float] | None] = field(default_factory=dict)
    reaches: list[Reach] = field(default_factory=list)

    def of(self, operation: Operation) -> Reach:
        """Return the reach of an operation."""
        while len(self.reaches) <= operation.index:
            self.reaches.append(self._next(self.recording.operations[len(self.reaches)]))
        return self.reaches[operation.index]

    def radius(self, operation: Operation) -> Tensor:
        """Return how far a value of the model may lie from the reference (B,)."""
        reach = self.of(operation)
        return (reach.constant * self.eps + reach.error) * SLACK

    def narrow(
        self, operation: Operation, lower: Tensor, upper: Tensor, _loose: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return narrower bounds of an operation's values (B, *S): no coordinate moves farther than all."""
        center, radius = self.of(operation).reference, self.radius(operation)
        radius = radius.reshape(-1, *[1] * (center.ndim - 1))
        return torch.maximum(lower, center - radius), torch.minimum(upper, center + radius)

    def _next(self, operation: Operation) -> Reach:
        if not operation.sources:
            return Reach(1.0, self.x.new_zeros(len(self.x)), self.x)
        sources = [self.reaches[source.index] for source in operation.sources]
        if operation.index not in self.norms:
            self.norms[operation.index] = operation_norms(operation, self.recording)
        norms = self.norms[operation.index]
        values = [source.reference for source in sources]
        if operation.lines is not None:
            reference = _exact(self.recording.layers[operation.index], self.rounding)(values[0].clone())
        else:
            reference = values[0] if operation.affine is None else operation.affine(*values)
        # what float64 may lose in the reference: each number a sum of at most so many products
        products = max(value[0].numel() for value in values) + 4
        own = operation.error + FLOAT64_SAFETY_FACTOR * products * 2.0**-53 * operation.terms
        error = norm_bound(own.flatten(1), 1)
        for norm, source in zip(norms, sources, strict=True):
            error = error + norm * source.error
        constant = sum(norm * source.constant for norm, source in zip(norms, sources, strict=True))
        if operation.index not in self.blocks:
            self.blocks[operation.index] = residual_block(operation, self.recording)
        if block := self.blocks[operation.index]:
            start, of_block = block
            constant = min(constant, of_block * self.reaches[start.index].constant)
        return Reach(constant * SLACK, error * SLACK, reference)


def _exact(layer: nn.Module, rounding: RoundingModel) -> nn.Module:
    """Return a nonlinear layer with the numbers that the model's type makes of its settings."""
    if type(layer) is nn.Hardtanh:
        low, high = (
            value if math.isinf(value) else rounding.number(value, "Hardtanh")
            for value in (layer.min_val, layer.max_val)
        )
        return nn.Hardtanh(low, high)
    if type(layer) is nn.LeakyReLU:
        return nn.LeakyReLU(rounding.number(layer.negative_slope, "LeakyReLU"))
    return layer


def operation_norms(operation: Operation, recording: Recording) -> tuple[float, ...]:
    """Return upper bounds of the L2 norms of an operation, one for each source.

    Raises:
        ModelError: For one without a rule, by name.
    """
    layer = recording.layers.get(operation.index)
    if operation.lines is not None:
        if type(layer) not in CONSTANTS:
            raise _no_constant(layer)
        assert layer is not None
        return (CONSTANTS[type(layer)](layer),)
    if operation.affine is None:
        return (1.0,)
    if type(layer) is nn.Linear:
        return (float(spectral_norm_bound(layer.weight.detach().double())),)
    if type(layer) is nn.Conv2d:
        height, width = operation.sources[0].terms.shape[-2:]
        return (conv_norm_bound(layer, height, width),)
    is_mean = isinstance(layer, nn.AvgPool2d | nn.AdaptiveAvgPool2d)
    if operation.mixes and not is_mean and operation.affine is not torch.add:
        raise _no_constant(layer)
    return tuple(_gathering_norm(operation, place) for place in range(len(operation.sources)))


def _gathering_norm(operation: Operation, place: int) -> float:
    r"""Bound the norm of a matrix with one number in each row, or with none below 0, as of means.

    Of the first :math:`A^T A` is diagonal, so that :math:`\|A\|^2 = \max_j (A^T A 1)_j`; of the second
    Schur's bound is taken, the largest sum of a row times that of a column.
    """
    assert operation.affine is not None
    shapes = [source.terms for source in operation.sources]
    start = [torch.zeros_like(shape) for shape in shapes]

    def linear(values: Tensor) -> Tensor:
        assert operation.affine is not None
        given = [values if number == place else zero for number, zero in enumerate(start)]
        return operation.affine(*given) - operation.affine(*start)

    with torch.enable_grad():
        ones = torch.ones_like(shapes[place]).requires_grad_()
        image = linear(ones)
        rows = image.detach().abs()
        # brought near 1, since the squares of small numbers are 0
        largest = float(rows.max())
        weights = torch.ones_like(rows) if operation.mixes or not largest else image.detach() / largest
        (columns,) = torch.autograd.grad(image, ones, weights)
    return math.sqrt(float(columns.abs().max())) * math.sqrt(largest) * SLACK


def _no_constant(layer: nn.Module | None) -> ModelError:
    name = "an operation on several values" if layer is None else f"a {type(layer).__name__}"
    known = ", ".join(kind.__name__ for kind in CONSTANTS)
    return ModelError(
        f"{name} has no Lipschitz constant here; sums, scales, Linear, Conv2d, means and {known} have. Other "
        f"certifiers may take it (quintain list certifier). {WITHOUT_BOUNDS}"
    )
