"""The table of rules by type of layer, and how a rule gets into it."""

import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from inspect import signature
from typing import Any, TypeVar

from torch import Tensor, nn

from quintain.core.errors import PrivacyError
from quintain.dp.rules.protocol import AllInputsRule, CustomForwardRule, ParameterGrads, Rule

Value = TypeVar("Value")
RuleT = TypeVar("RuleT", bound=Callable[..., Any] | AllInputsRule | CustomForwardRule)

_RULES: dict[type[nn.Module], Rule] = {}
_EXAMPLES: dict[type[nn.Module], Callable[[], nn.Module]] = {}


class RuleTable(Mapping[type[nn.Module], Value]):
    """What rules came with, by type of layer.

    Rules of other packages are imported when it is first read, since their modules may need what imports this
    one.

    Args:
        own: What is registered so far.
    """

    def __init__(self, own: dict[type[nn.Module], Value]) -> None:
        self._own = own

    def __getitem__(self, layer_type: type[nn.Module]) -> Value:
        _import_rules_of_other_packages()
        return self._own[layer_type]

    def __iter__(self) -> Iterator[type[nn.Module]]:
        _import_rules_of_other_packages()
        return iter(self._own)

    def __len__(self) -> int:
        _import_rules_of_other_packages()
        return len(self._own)


@cache
def _import_rules_of_other_packages() -> None:
    for point in entry_points(group="quintain.layer_rule"):
        try:
            import_module(point.module)
        except ImportError as error:
            warnings.warn(
                f"the rule {point.name!r} is not there: {point.module} does not import: {error}", stacklevel=4
            )


RULES: Mapping[type[nn.Module], Rule] = RuleTable(_RULES)
"""The layers whose per-example gradients have a closed form; others are run again by ``vmap``
(``VMAP_RULE``).
"""

EXAMPLES: Mapping[type[nn.Module], Callable[[], nn.Module]] = RuleTable(_EXAMPLES)
"""The examples that rules came with: nets in which the laws and the tests of mechanisms try them."""


def register_rule(
    *layer_types: type[nn.Module], example: Callable[[], nn.Module] | None = None
) -> Callable[[RuleT], RuleT]:
    """Register the rule that computes per-example gradients of a type of layer.

    ::

        @register_rule(Scale, example=lambda: nn.Sequential(nn.Flatten(), Scale(16), nn.Linear(16, 3)))
        def scale(layer, activations, backprops):
            return {"weight": activations * backprops}

    Args:
        layer_types: Classes, matched exactly: a subclass needs its own rule.
        example: Makes a small net with such a layer, from pictures (B, 1, 4, 4) to at least three numbers
            (B, K): ``verify_mechanism`` and the laws of private training try the rule in it.

    The decorated function takes the layer, its input (B, ...), the gradient of the loss at its output (B,
    ...) and, if it has a fourth argument, the names of the parameters to train; it returns their gradients,
    (B, *shape) each, by name or by parameter. Their names and shapes are checked, their values cannot be. An
    ``AllInputsRule`` or ``CustomForwardRule`` is taken as it is, such as ``VMAP_RULE`` for a module that uses
    weights of the layers inside it without calling these; as decorators they make one of a function.
    """

    def register(rule: RuleT) -> RuleT:
        _RULES.update(
            dict.fromkeys(
                layer_types,
                rule if isinstance(rule, (AllInputsRule, CustomForwardRule)) else _adapt_rule(rule),
            )
        )
        if example is not None:
            _EXAMPLES.update(dict.fromkeys(layer_types, example))
        return rule

    return register


def _adapt_rule(
    rule: Callable[..., Mapping[str | nn.Parameter, Any]],
) -> Callable[[nn.Module, Tensor, Tensor, Collection[str]], ParameterGrads]:
    """Return a rule that keys gradients by name and refuses those of other parameters than the layer's own.

    Args:
        rule: A rule that keys gradients by name or by parameter.
    """
    names_too = len(signature(rule).parameters) > 3

    def adapted_rule(layer: nn.Module, a: Tensor, g: Tensor, names: Collection[str]) -> ParameterGrads:
        grads = rule(layer, a, g, names) if names_too else rule(layer, a, g)
        wanted = {key: rows for key, rows in grads.items() if isinstance(key, str) and key in names}
        if len(wanted) == len(grads):
            return wanted
        own = dict(layer.named_parameters(recurse=False))
        known = {parameter: name for name, parameter in own.items()}
        unknown = [
            key for key in grads if (key not in known if isinstance(key, nn.Parameter) else key not in own)
        ]
        if unknown:
            raise PrivacyError(
                f"the rule of {type(layer).__name__} gives gradients of {unknown}; expected its own "
                f"parameters, {sorted(own)}"
            )
        named = {known[key] if isinstance(key, nn.Parameter) else key: rows for key, rows in grads.items()}
        return {name: rows for name, rows in named.items() if name in names}

    return adapted_rule
