"""How each kind of layer gives the gradients of single examples: their norms, and their weighted sum.

A rule gets what went into the layer and the gradient of the loss at what came out, batch first, of at least one example, and
returns ``Gradients``. The norms are exact: gradients of small layers are built, those of large ones are built in pieces, used and dropped.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quintain.core.errors import PrivacyError

Calls = list[tuple[Tensor, Tensor]]
"""What one pass did with a layer: its input (B, ...) and the gradient at its output (B, ...), for each time it was used."""

KEPT = 1 << 25
"""Numbers of per-example gradients that a layer may keep between the norms and the sum."""


class Gradients(Protocol):
    """The gradients of B examples for the parameters of one layer."""

    def squared(self) -> Tensor:
        """Squared Euclidean norm of each, (B,), in float64."""

    def total(self, weights: Tensor) -> dict[str, Tensor]:
        """Sum of all, each times its weight (B,), by name of parameter."""


Rule = Callable[[nn.Module, Calls, frozenset[str]], Gradients]
"""From a layer, its calls and the names of its trainable parameters to the gradients of these."""


class Instantiated:
    """Gradients that are there, as (B, *shape) by name."""

    def __init__(self, gradients: Mapping[str, Tensor]) -> None:
        self.gradients = gradients

    def squared(self) -> Tensor:
        return sum_of(square(gradient) for gradient in self.gradients.values())

    def total(self, weights: Tensor) -> dict[str, Tensor]:
        return {
            name: (weights.to(gradient.dtype) @ gradient.flatten(1)).view(gradient.shape[1:]) for name, gradient in self.gradients.items()
        }


class Products:
    r"""Weight gradients that are sums over positions of outer products, :math:`G_i = \sum_t g_{it} a_{it}^T`, in groups.

    The norms are those of the very numbers that are added: where positions cancel, another order of summation would leave others.

    Args:
        a: Inputs (B, groups, inputs, T).
        g: Gradients at the outputs (B, groups, outputs, T).
    """

    def __init__(self, a: Tensor, g: Tensor) -> None:
        self.a, self.g = a, g
        self.shape = (a.shape[1], g.shape[2], a.shape[2])
        self.at_once = max(1, KEPT // math.prod(self.shape))
        self.single = a.shape[3] == 1
        self.kept = list(self._built()) if not self.single and len(a) <= self.at_once else None

    def _built(self) -> Iterator[Tensor]:
        for a, g in zip(self.a.split(self.at_once), self.g.split(self.at_once), strict=True):
            yield torch.matmul(g, a.transpose(2, 3))

    def squared(self) -> Tensor:
        if self.single:
            return (square(self.a.flatten(0, 1)) * square(self.g.flatten(0, 1))).view(self.a.shape[:2]).sum(1)
        return torch.cat([square(part) for part in self.kept or self._built()])

    def total(self, weights: Tensor) -> Tensor:
        """(groups, outputs, inputs); of outer products, each side gets the root of the weight, which no number format rounds to zero."""
        if self.single:
            root = weights.sqrt().to(self.g.dtype)[:, None, None, None]
            return torch.einsum("bgot,bgit->goi", self.g * root, self.a * root)
        parts = zip(weights.to(self.g.dtype).split(self.at_once), self.kept or self._built(), strict=True)
        return sum_of(some @ part.flatten(1) for some, part in parts).view(self.shape)


class Affine:
    """Gradients of a weight applied at each position, and of its bias."""

    def __init__(self, layer: nn.Module, a: Tensor, g: Tensor, names: frozenset[str]) -> None:
        self.weight = Products(a, g) if "weight" in names else None
        self.bias = Instantiated({"bias": g.sum(3).flatten(1)}) if "bias" in names else None
        self.shape = cast(Tensor, layer.weight).shape

    def squared(self) -> Tensor:
        return sum_of(part.squared() for part in (self.weight, self.bias) if part is not None)

    def total(self, weights: Tensor) -> dict[str, Tensor]:
        bias = {} if self.bias is None else self.bias.total(weights)
        return bias if self.weight is None else {"weight": self.weight.total(weights).reshape(self.shape), **bias}


def square(x: Tensor) -> Tensor:
    """Squared norm of each row of (B, ...), in float64; summed in pairs, and again in float64 where that overflows."""
    rows = x.flatten(1)
    quick = (rows * rows).sum(1).double()
    return quick if quick.isfinite().all() else rows.double().square().sum(1)


def joined(parts: Iterable[Tensor]) -> Tensor:
    """The positions of several uses of a layer, side by side."""
    first, *rest = parts
    return torch.cat([first, *rest], 3) if rest else first


def sum_of(parts: Iterable[Tensor]) -> Tensor:
    """Sum of tensors; there is at least one."""
    first, *rest = parts
    for part in rest:
        first = first + part
    return first


def linear(layer: nn.Module, calls: Calls, names: frozenset[str]) -> Gradients:
    """``nn.Linear`` on (B, inputs) or (B, ..., inputs)."""

    def positions(x: Tensor) -> Tensor:
        return x.reshape(len(x), 1, math.prod(x.shape[1:-1]), x.shape[-1]).transpose(2, 3)

    return Affine(layer, joined(positions(a) for a, _ in calls), joined(positions(g) for _, g in calls), names)


def conv2d(layer: nn.Module, calls: Calls, names: frozenset[str]) -> Gradients:
    """``nn.Conv2d`` with any stride, padding, dilation and groups: a linear layer on patches."""
    conv = cast(nn.Conv2d, layer)
    padding = _padding(conv)

    def patches(x: Tensor) -> Tensor:
        mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
        padded = F.pad(x, padding, mode) if any(padding) else x
        windows = padded
        for axis in (0, 1):
            reach = conv.dilation[axis] * (conv.kernel_size[axis] - 1) + 1
            windows = windows.unfold(2 + axis, reach, conv.stride[axis])[..., :: conv.dilation[axis]]
        inputs, positions = math.prod(conv.weight.shape[1:]), math.prod(windows.shape[2:4])
        return windows.permute(0, 1, 4, 5, 2, 3).reshape(len(x), conv.groups, inputs, positions)

    def outputs(g: Tensor) -> Tensor:
        return g.reshape(len(g), conv.groups, conv.out_channels // conv.groups, math.prod(g.shape[2:]))

    return Affine(layer, joined(patches(a) for a, _ in calls), joined(outputs(g) for _, g in calls), names)


def _padding(conv: nn.Conv2d) -> list[int]:
    """Rows and columns added on each side, in the order of ``F.pad``."""
    if conv.padding == "valid":
        return [0, 0, 0, 0]
    if conv.padding == "same":
        totals = [d * (k - 1) for d, k in zip(conv.dilation, conv.kernel_size, strict=True)]
        return [side for total in reversed(totals) for side in (total // 2, total - total // 2)]
    rows, columns = cast(tuple[int, int], conv.padding)
    return [columns, columns, rows, rows]


def _scaled(calls: Calls, normalised: Callable[[Tensor], Tensor], summed: Callable[[Tensor], Tensor], names: frozenset[str]) -> Gradients:
    """A layer that normalises, then scales and shifts: the sums over positions of normalised input times gradient, and of gradient."""
    gradients = {}
    if "weight" in names:
        gradients["weight"] = sum_of(summed(normalised(a) * g) for a, g in calls)
    if "bias" in names:
        gradients["bias"] = sum_of(summed(g) for _, g in calls)
    return Instantiated(gradients)


def group_norm(layer: nn.Module, calls: Calls, names: frozenset[str]) -> Gradients:
    """``nn.GroupNorm``."""
    norm = cast(nn.GroupNorm, layer)
    return _scaled(
        calls,
        lambda a: F.group_norm(a, norm.num_groups, eps=norm.eps),
        lambda x: x.flatten(2).sum(2) if x.dim() > 2 else x,
        names,
    )


def layer_norm(layer: nn.Module, calls: Calls, names: frozenset[str]) -> Gradients:
    """``nn.LayerNorm``."""
    norm = cast(nn.LayerNorm, layer)
    shape = tuple(norm.normalized_shape)

    def summed(x: Tensor) -> Tensor:
        middle = tuple(range(1, x.dim() - len(shape)))
        return x.sum(middle) if middle else x

    return _scaled(calls, lambda a: F.layer_norm(a, shape, eps=norm.eps), summed, names)


class Rows:
    """Gradients of an embedding: of each example, a few rows of the table."""

    def __init__(self, owner: Tensor, row: Tensor, gradient: Tensor, batch: int, shape: torch.Size) -> None:
        self.owner, self.row, self.gradient, self.batch, self.shape = owner, row, gradient, batch, shape

    def squared(self) -> Tensor:
        result = torch.zeros(self.batch, dtype=torch.float64, device=self.gradient.device)
        return result.index_add(0, self.owner, square(self.gradient))

    def total(self, weights: Tensor) -> dict[str, Tensor]:
        table = self.gradient.new_zeros(self.shape)
        return {"weight": table.index_add(0, self.row, self.gradient * weights.to(table.dtype)[self.owner, None])}


def embedding(layer: nn.Module, calls: Calls, _names: frozenset[str]) -> Gradients:
    """``nn.Embedding``; ids that an example repeats are added before its norm is taken."""
    table = cast(nn.Embedding, layer)
    if table.max_norm is not None or table.scale_grad_by_freq or table.sparse:
        raise PrivacyError("got an Embedding with max_norm, scale_grad_by_freq or sparse, which mix examples; expected it without these")
    batch = len(calls[0][0])
    ids = torch.cat([a.reshape(batch, -1) for a, _ in calls], 1)
    gradients = torch.cat([g.reshape(batch, -1, table.embedding_dim) for _, g in calls], 1)
    if table.padding_idx is not None:
        gradients = gradients.masked_fill((ids == table.padding_idx)[..., None], 0)
    keys = ids + torch.arange(batch, device=ids.device)[:, None] * table.num_embeddings
    unique, place = keys.flatten().unique(return_inverse=True)
    summed = gradients.new_zeros(len(unique), table.embedding_dim).index_add(0, place, gradients.flatten(0, 1))
    return Rows(unique // table.num_embeddings, unique % table.num_embeddings, summed, batch, table.weight.shape)


RULES: Mapping[type[nn.Module], Rule] = MappingProxyType(
    {nn.Linear: linear, nn.Conv2d: conv2d, nn.GroupNorm: group_norm, nn.LayerNorm: layer_norm, nn.Embedding: embedding}
)
"""The layers that can be trained privately."""
