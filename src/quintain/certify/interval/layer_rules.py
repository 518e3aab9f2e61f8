"""The table of bound rules by the exact type of a layer, since a subclass may compute something else."""

from collections.abc import Callable
from typing import Any

from torch import nn

from quintain.certify.interval.domain import Interval
from quintain.certify.interval.layers import (
    CONVOLUTIONS,
    TRANSPOSED_CONVOLUTIONS,
    avg_pool2d,
    batch_norm,
    constant_pad,
    convolution,
    flatten,
    hardtanh,
    identity,
    leaky_relu,
    linear,
    max_pool2d,
    normalize,
    relu,
    transposed_convolution,
    unflatten,
    zero_pad,
)
from quintain.certify.interval.relaxations import RELAXATIONS, Relaxation
from quintain.certify.interval.smooth import smooth
from quintain.certify.rounding import RoundingModel
from quintain.core.errors import SettingError
from quintain.models.nets import Normalize

LayerRule = Callable[[Any, Interval, RoundingModel], Interval]

POINTWISE_LAYERS: set[type[nn.Module]] = {
    *(nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.GELU),
    *(nn.Identity, nn.Dropout, nn.Dropout2d),
}
"""Layers that act on each number by itself."""

LAYER_RULES: dict[type[nn.Module], LayerRule] = {
    nn.Linear: linear,
    **dict.fromkeys(CONVOLUTIONS, convolution),
    **dict.fromkeys(TRANSPOSED_CONVOLUTIONS, transposed_convolution),
    nn.ReLU: relu,
    nn.LeakyReLU: leaky_relu,
    nn.ReLU6: hardtanh,
    nn.Hardtanh: hardtanh,
    nn.Sigmoid: smooth,
    nn.Tanh: smooth,
    nn.GELU: smooth,
    nn.ZeroPad2d: zero_pad,
    nn.ConstantPad1d: constant_pad,
    nn.ConstantPad2d: constant_pad,
    nn.MaxPool2d: max_pool2d,
    nn.AvgPool2d: avg_pool2d,
    nn.AdaptiveAvgPool2d: avg_pool2d,
    nn.BatchNorm1d: batch_norm,
    nn.BatchNorm2d: batch_norm,
    Normalize: normalize,
    nn.Flatten: flatten,
    nn.Unflatten: unflatten,
    nn.Identity: identity,
    nn.Dropout: identity,
    nn.Dropout2d: identity,
}


def register_layer_rule(
    kind: type[nn.Module], *, relaxation: Relaxation | None = None, pointwise: bool = False
) -> Callable[[LayerRule], LayerRule]:
    """Return a decorator that registers a function as the bound rule of a layer of one's own.

    The rule takes the layer, the ``Interval`` of its input and the ``RoundingModel`` of the net, and returns
    an interval that holds whatever the layer may return, its own rounding included; what it cannot bound it
    refuses with a ``ModelError``. Every certificate of nets with that layer rests on it.

    Args:
        kind: The type of the layer, itself and no subclass.
        relaxation: How linear bounds see it, for a layer that is not affine; an affine one is written with
            the methods of ``Interval``, and needs none.
        pointwise: Whether it acts on each number by itself, so that it also takes values of one dimension.

    Raises:
        SettingError: If that is no type of layers, or one that has a rule.
    """
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise SettingError(f"register_layer_rule({kind!r}); expected a subclass of torch.nn.Module")
    if kind in LAYER_RULES:
        raise SettingError(f"{kind.__name__} has a bound rule already; expected a layer without one")

    def register(rule: LayerRule) -> LayerRule:
        LAYER_RULES[kind] = rule
        if relaxation is not None:
            RELAXATIONS[kind] = relaxation
        if pointwise:
            POINTWISE_LAYERS.add(kind)
        return rule

    return register
