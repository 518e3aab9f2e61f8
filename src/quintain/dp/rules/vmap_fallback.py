"""Per-example gradients of any other module: its forward is run again under vmap and differentiated."""

import math
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap
from torch.nn.utils.parametrize import is_parametrized
from torch.utils._pytree import tree_flatten, tree_unflatten

from quintain.core.errors import PrivacyError
from quintain.dp.rules.protocol import CustomForwardRule, LayerCall

RERUN_TOLERANCE = 4.0
"""Tolerance between the two runs of a forward, in square roots of machine epsilon."""

ParameterSlots = list[tuple[dict[str, Any], str, Tensor]]
"""The dicts in which modules hold their parameters, with name and value."""

_RERUNNING: ContextVar[bool] = ContextVar("again", default=False)


def is_rerunning() -> bool:
    """Whether a forward is being rerun; no layer inside is captured then."""
    return _RERUNNING.get()


class WithoutHooks(nn.Module):
    """A module without its hooks."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return type(self.module).forward(self.module, *args, **kwargs)


def vmap_forward(module: nn.Module, call: LayerCall, *args: Any, **kwargs: Any) -> Tensor:
    """The module's output, whose backward pass computes per-example gradients by ``vmap``.

    .. math:: G_i = J_\\theta f(x_i; \\theta)^\\top g_i

    Counted are only uses of parameters that submodules do not see: of the module's own, such as a class
    token, and of weights of submodules that are used without calling these.

    Raises:
        PrivacyError: If the forward is random, writes buffers, mixes examples, or does not take and give
            tensors with the batch first.
    """
    # forward with detached parameters, so that no plain gradient arises
    leaves, tree_spec = tree_flatten((args, kwargs))
    inputs = [leaf.detach() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
    versions = _versions(inputs)
    constants = {
        f"module.{name}": parameter.detach()
        for name, parameter in module.named_parameters()
        if name in call.names
    }
    output = functional_call(WithoutHooks(module), constants, args, kwargs)
    if not isinstance(output, Tensor) or not output.dim():
        raise cannot_vmap(module, f"gives a {type(output).__name__}", "one tensor, the batch first")
    if not output.requires_grad:
        output = output + call.grad_anchor.sum()
    expected_output = output.detach().clone()

    def on_output_grad(g: Tensor) -> None:
        if _versions(inputs) != versions:
            raise cannot_vmap(module, "had its input changed in place", "it left alone until backward()")
        call.record_grads(
            len(g), g, partial(vmap_grads, module, call.names, (inputs, tree_spec), expected_output, g)
        )

    output.register_hook(on_output_grad)
    return output


def vmap_grads(
    module: nn.Module, names: Collection[str], call: tuple[list[Any], Any], output: Tensor, g: Tensor
) -> Mapping[str, Tensor]:
    """The per-example gradients of the parameters in ``names``; of submodules' only where used directly."""
    leaves, tree_spec = call
    rows = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    if not rows or any(not row.dim() or len(row) != len(g) for row in rows):
        raise cannot_vmap(
            module,
            f"takes tensors of shapes {[tuple(row.shape) for row in rows]}",
            f"tensors alone with {len(g)} examples first",
        )
    own = {name: parameter.detach() for name, parameter in module.named_parameters() if name in names}
    buffers = [(buffer, buffer._version) for buffer in module.buffers()]

    def forward(parameters: Mapping[str, Tensor], *example: Tensor) -> Tensor:
        filled = iter(example)
        args, kwargs = tree_unflatten(
            [next(filled)[None] if isinstance(leaf, Tensor) else leaf for leaf in leaves], tree_spec
        )
        result: Tensor = functional_call(
            WithoutHooks(module),
            {f"module.{name}": value for name, value in parameters.items()},
            args,
            kwargs,
        )
        return result[0]

    # one example at a time (a batch of one), differentiated for the parameters alone: G_i = J^T g_i
    def single_example_vjp(cotangent: Tensor, *example: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        output, pull, *_ = vjp(lambda parameters: forward(parameters, *example), used)
        return output, pull(cotangent)[0]

    with _rerunning(module):
        try:
            used = _parameters_used_directly(forward, own, [row[0] for row in rows], g[0])
            if not used:
                return {}
            rerun, grads = vmap(single_example_vjp, randomness="error")(g, *rows)
        except RuntimeError as error:
            raise cannot_vmap(
                module,
                f"fails one example at a time ({str(error).splitlines()[0][:200]})",
                "no randomness inside",
            ) from error
    if [(id(buffer), version) for buffer, version in buffers] != [
        (id(buffer), buffer._version) for buffer in module.buffers()
    ]:
        raise cannot_vmap(module, "writes its buffers", "a forward that changes nothing")
    if not _outputs_agree(rerun, output):
        raise cannot_vmap(
            module,
            "gives an example another output alone than in its batch",
            "no randomness, and no term of other examples",
        )
    return grads


def warn_and_use_vmap(label: str, module: nn.Module) -> CustomForwardRule:
    """The rule of a module that has none of its own, with a warning of what it costs."""
    numbers = sum(parameter.numel() for parameter in own_trainable_parameters(module).values())
    warnings.warn(
        f"layer {label!r} is a {type(module).__name__}, which has no rule for per-example gradients: its "
        f"forward runs twice, by vmap, and {numbers} numbers an example are kept; "
        f"quintain.dp.register_rule({type(module).__name__}) makes it faster",
        UserWarning,
        stacklevel=2,
    )
    return VMAP_RULE


def cannot_vmap(module: nn.Module, got: str, expected: str) -> PrivacyError:
    """The error for a module that cannot be run example by example."""
    return PrivacyError(
        f"a {type(module).__name__} without a rule {got}; expected {expected}: register a rule for it "
        "(quintain.dp.register_rule), or freeze it"
    )


VMAP_RULE = CustomForwardRule(vmap_forward, covers_submodules=True)
"""The rule of any module without one; to be registered for modules that use weights of submodules
directly.
"""


def own_trainable_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """The trainable parameters of a module itself, with those of parameter lists and parametrizations."""
    own = dict(module.named_parameters(recurse=False))
    for name, child in _parameter_containers(module):
        own |= {f"{name}.{inner}": parameter for inner, parameter in child.named_parameters()}
    return {name: parameter for name, parameter in own.items() if parameter.requires_grad}


def parameter_containers(root: nn.Module) -> set[nn.Module]:
    """Modules that only hold parameters for another one: parameter lists and parametrizations."""
    return {
        inner
        for module in root.modules()
        for _, child in _parameter_containers(module)
        for inner in child.modules()
    }


def _parameter_containers(module: nn.Module) -> list[tuple[str, nn.Module]]:
    return [
        (name, child)
        for name, child in module.named_children()
        if isinstance(child, (nn.ParameterList, nn.ParameterDict))
        or (name == "parametrizations" and is_parametrized(module))
    ]


def _versions(given: list[Any]) -> list[int]:
    return [leaf._version for leaf in given if isinstance(leaf, Tensor)]


def _parameters_used_directly(
    forward: Callable[..., Tensor], parameters: Mapping[str, Tensor], example: list[Tensor], g: Tensor
) -> dict[str, Tensor]:
    """The parameters that the output uses other than through submodules, and all of the module's own."""
    with torch.enable_grad():
        leaves = {name: value.requires_grad_() for name, value in parameters.items()}
        output = forward(leaves, *example)
        needed = (
            torch.autograd.grad(output, list(leaves.values()), g, allow_unused=True)
            if output.requires_grad
            else [None] * len(leaves)
        )
    return {
        name: value.detach()
        for (name, value), found in zip(leaves.items(), needed, strict=True)
        if found is not None or "." not in name
    }


@contextmanager
def _rerunning(module: nn.Module) -> Iterator[None]:
    """A context in which submodules are not captured, and their own uses of their weights do not count."""
    token = _RERUNNING.set(True)
    with ExitStack() as stack:
        stack.callback(_RERUNNING.reset, token)
        for inner in set(module.modules()) - parameter_containers(module) - {module}:
            if any(parameter.requires_grad for parameter in inner.parameters(recurse=False)):
                # they run with detached parameters: their own rules answer for these
                detached: list[ParameterSlots] = []
                stack.callback(
                    inner.register_forward_pre_hook(
                        partial(_detach_parameters, detached), prepend=True
                    ).remove
                )
                stack.callback(
                    inner.register_forward_hook(
                        partial(_restore_parameters, detached), always_call=True
                    ).remove
                )
        yield


def _detach_parameters(detached: list[ParameterSlots], module: nn.Module, _args: Any) -> None:
    slots: ParameterSlots = [
        (inner._parameters, name, value)
        for inner in module.modules()
        for name, value in inner._parameters.items()
        if value is not None
    ]
    detached.append(slots)
    for parameters, name, value in slots:
        parameters[name] = value.detach()


def _restore_parameters(detached: list[ParameterSlots], _module: nn.Module, _args: Any, _output: Any) -> None:
    for parameters, name, value in detached.pop():
        parameters[name] = value


def _outputs_agree(again: Tensor, output: Tensor) -> bool:
    """Whether two runs gave the same up to rounding, where both are finite."""
    if again.shape != output.shape:
        return False
    finite = again.isfinite() & output.isfinite()
    one, other = again[finite], output[finite]
    size = torch.maximum(one.abs(), other.abs()).amax() if len(one) else 0.0
    return bool(
        ((one - other).abs() <= RERUN_TOLERANCE * math.sqrt(torch.finfo(output.dtype).eps) * size).all()
    )
