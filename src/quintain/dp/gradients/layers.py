"""The layers with parameters to train: which rule each has, and what the rule gets."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any, cast

from torch import Tensor, nn

from quintain.core.errors import PrivacyError
from quintain.dp.gradients.precision import widened, widened_all
from quintain.dp.gradients.validation import refuse_table, refuse_without_rule
from quintain.dp.rules import Fused, Rule, Whole
from quintain.dp.rules.attention import sequence_first
from quintain.dp.rules.fallback import fallback, held, passive
from quintain.dp.rules.protocol import Found


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A layer with parameters to train: its name in the module, its rule, these parameters by name, and which dimension is the batch."""

    name: str
    module: nn.Module
    rule: Rule
    parameters: Mapping[str, nn.Parameter]
    batch_dim: int = 0

    def examples(self, x: Tensor) -> Tensor:
        """``x`` with the batch first."""
        return x.transpose(0, self.batch_dim) if self.batch_dim and (x.dim() > 2 or not x.is_floating_point()) else x


def layers_of(module: nn.Module, rules: Mapping[type[nn.Module], Rule], *, batch_first: bool) -> tuple[Layer, ...]:
    """The layers of a module with parameters to train, each with its rule.

    Raises:
        PrivacyError: If a trainable parameter is in a layer without a rule, or there is none.
    """
    layers: list[Layer] = []
    columns, held_elsewhere = sequence_first(module), passive(module)
    for name, child in module.named_modules():
        if child in held_elsewhere:
            continue
        rule, own = rules.get(type(child)), held(child)
        fused = isinstance(rule, Fused) and any(parameter.requires_grad for parameter in child.parameters())
        if not own and not fused:
            continue
        label = name or type(child).__name__
        refuse_table(child)
        if rule is None:
            refuse_without_rule(label, child)
            rule = fallback(label, child)
        if isinstance(rule, Fused) and rule.inside:
            own = {key: parameter for key, parameter in child.named_parameters() if parameter.requires_grad}
            fused = True
        if not batch_first and (isinstance(rule, Whole) or (isinstance(rule, Fused) and rule.inside)):
            raise PrivacyError(
                f"layer {label!r} is a {type(child).__name__}, whose batch must be the first dimension; expected batch_first=True"
            )
        layers.append(Layer(label, child, rule, own, batch_dim=int(child in columns or not batch_first)))
    if not layers:
        raise PrivacyError("the module has no trainable parameter; expected at least one with requires_grad=True")
    return tuple(layers)


def reading(layer: Layer, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[list[Tensor], Callable[[Tensor], Callable[[], Found]]]:
    """The tensors that a layer was called with, and a function that binds its rule to an output gradient.

    The function checks the sizes at once; the rule runs only when what it returns is called.
    """
    module, rule, names = layer.module, layer.rule, layer.parameters.keys()
    dtype = next(iter(layer.parameters.values())).dtype
    assert not isinstance(rule, Fused)
    if isinstance(rule, Whole):
        whole, bound = rule.rule, signature(type(module).forward).bind(module, *args, **kwargs).arguments
        given = {name: x.detach() if isinstance(x, Tensor) else x for name, x in list(bound.items())[1:]}
        read = [x for x in given.values() if isinstance(x, Tensor)]
        return read, lambda g: lambda: whole(module, widened_all(given, dtype), g, names)
    simple, first = rule, cast(Tensor, next(iter((*args, *kwargs.values())))).detach()
    a = layer.examples(first)

    def sized(g: Tensor) -> Callable[[], Found]:
        if not a.dim() or len(a) != len(g):
            raise PrivacyError(
                f"layer {layer.name!r} got an input of shape {tuple(first.shape)} in a pass over {len(g)} examples; "
                "expected the batch as first dimension of every trainable layer's input"
            )
        return lambda: simple(module, widened(a, dtype), g, names)

    return [first], sized
