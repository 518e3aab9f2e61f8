"""The trainable layers of a module: the rule of each, bound to the calls of the layer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from inspect import Signature, signature
from typing import Any, cast

from torch import Tensor, nn

from quintain.core.errors import PrivacyError
from quintain.dp.capture.batch_dim import batch_dim_of
from quintain.dp.capture.layer_checks import check_can_run_by_vmap
from quintain.dp.per_example.precision import widen, widen_all
from quintain.dp.rules import AllInputsRule, CustomForwardRule, Rule
from quintain.dp.rules.attention import sequence_first
from quintain.dp.rules.embeddings import check_embedding
from quintain.dp.rules.protocol import ParameterGrads
from quintain.dp.rules.vmap_fallback import own_trainable_parameters, parameter_containers, warn_and_use_vmap


@dataclass(frozen=True, slots=True, eq=False)
class TrainableLayer:
    """A layer with trainable parameters: name, rule, parameters, and its batch dimension."""

    name: str
    module: nn.Module
    rule: Rule
    parameters: Mapping[str, nn.Parameter]
    batch_dim: int = 0

    def to_batch_first(self, x: Tensor) -> Tensor:
        """The tensor with the batch as first dimension."""
        batch_dim = batch_dim_of(x, self.batch_dim)
        return x.transpose(0, batch_dim) if batch_dim else x


def find_trainable_layers(
    module: nn.Module, rules: Mapping[type[nn.Module], Rule], *, batch_first: bool
) -> tuple[TrainableLayer, ...]:
    """All layers of a module with trainable parameters, each with its rule.

    Raises:
        PrivacyError: If a trainable parameter is in a layer without a rule, or there is none.
    """
    layers: list[TrainableLayer] = []
    sequence_first_layers, containers = sequence_first(module), parameter_containers(module)
    for name, child in module.named_modules():
        if child in containers:
            continue
        rule, own = rules.get(type(child)), own_trainable_parameters(child)
        has_custom_forward = isinstance(rule, CustomForwardRule) and any(
            parameter.requires_grad for parameter in child.parameters()
        )
        if not own and not has_custom_forward:
            continue
        label = name or type(child).__name__
        check_embedding(child)
        if rule is None:
            check_can_run_by_vmap(label, child)
            rule = warn_and_use_vmap(label, child)
        if isinstance(rule, CustomForwardRule) and rule.covers_submodules:
            # such a rule also gives gradients of weights of submodules
            own = {key: parameter for key, parameter in child.named_parameters() if parameter.requires_grad}
            has_custom_forward = True
        if not batch_first and (
            isinstance(rule, AllInputsRule)
            or (isinstance(rule, CustomForwardRule) and rule.covers_submodules)
        ):
            raise PrivacyError(
                f"layer {label!r} is a {type(child).__name__}, whose batch must be the first dimension; "
                "expected batch_first=True"
            )
        layers.append(
            TrainableLayer(
                label, child, rule, own, batch_dim=int(child in sequence_first_layers or not batch_first)
            )
        )
    if not layers:
        raise PrivacyError(
            "the module has no trainable parameter; expected at least one with requires_grad=True"
        )
    return tuple(layers)


def bind_rule(
    layer: TrainableLayer, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[list[Tensor], Callable[[Tensor], Callable[[], ParameterGrads]]]:
    """The tensors that a layer read in a call, and a function that binds its rule to an output gradient.

    The function checks the sizes at once; the rule runs only when what it returns is called.
    """
    module, rule, names = layer.module, layer.rule, layer.parameters.keys()
    dtype = next(iter(layer.parameters.values())).dtype
    assert not isinstance(rule, CustomForwardRule)
    if isinstance(rule, AllInputsRule):
        compute, arguments = (
            rule.compute,
            _signature(type(module).forward).bind(module, *args, **kwargs).arguments,
        )
        inputs = {name: x.detach() if isinstance(x, Tensor) else x for name, x in list(arguments.items())[1:]}
        read = [x for x in inputs.values() if isinstance(x, Tensor)]
        return read, lambda g: lambda: compute(module, widen_all(inputs, dtype), g, names)
    single_input_rule, first = rule, cast(Tensor, next(iter((*args, *kwargs.values())))).detach()
    a = layer.to_batch_first(first)

    def with_output_grad(g: Tensor) -> Callable[[], ParameterGrads]:
        if not a.dim() or len(a) != len(g):
            raise PrivacyError(
                f"layer {layer.name!r} got an input of shape {tuple(first.shape)} in a pass over {len(g)} "
                "examples; expected the batch as first dimension of every trainable layer's input"
            )
        return lambda: single_input_rule(module, widen(a, dtype), g, names)

    return [first], with_output_grad


@lru_cache(maxsize=256)
def _signature(forward: Callable[..., Any]) -> Signature:
    """The signature of a layer's forward, which does not change from one batch to the next."""
    return signature(forward)
