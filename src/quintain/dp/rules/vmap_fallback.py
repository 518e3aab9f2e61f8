"""Per-example gradients of modules without a rule: the forward is rerun under vmap and differentiated."""

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
"""For each parameter: the dict in which a module holds it, its name there, and its value."""

_RERUNNING: ContextVar[bool] = ContextVar("rerunning", default=False)


def is_rerunning() -> bool:
    """Return whether a forward is being rerun; no layer inside is captured then."""
    return _RERUNNING.get()


class WithoutHooks(nn.Module):
    """Calls a module's forward without its hooks."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return type(self.module).forward(self.module, *args, **kwargs)


def vmap_forward(module: nn.Module, call: LayerCall, *args: Any, **kwargs: Any) -> Tensor:
    """Return the module's output, whose backward pass computes per-example gradients by ``vmap``.

    .. math:: G_i = J_\\theta f(x_i; \\theta)^\\top g_i

    These are the gradients of the module's own parameters, such as a class token, and of parameters of
    submodules that it uses without calling them. What a submodule computes when it is called is left to its
    own rule.

    Args:
        module: The module without a rule.
        call: The captured call, which gets the gradients.
        args, kwargs: The arguments of the module's forward; tensors have the batch first.

    Raises:
        PrivacyError: If the forward is random, writes buffers, mixes examples, or takes or returns anything
            but tensors with the batch first.
    """
    # forward with detached parameters, so that autograd computes no gradient of a whole batch
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
        raise cannot_vmap(module, f"returns a {type(output).__name__}", "one tensor, the batch first")
    if not output.requires_grad:
        output = output + call.grad_anchor.sum()
    expected_output = output.detach().clone()

    def on_output_grad(g: Tensor) -> None:
        if _versions(inputs) != versions:
            raise cannot_vmap(module, "had its input changed in place", "it unchanged until backward()")
        call.record_grads(
            len(g), g, partial(vmap_grads, module, call.names, (inputs, tree_spec), expected_output, g)
        )

    output.register_hook(on_output_grad)
    return output


def vmap_grads(
    module: nn.Module, names: Collection[str], call: tuple[list[Any], Any], output: Tensor, g: Tensor
) -> Mapping[str, Tensor]:
    """Return per-example gradients (B, *shape) of the parameters that a module uses directly, by name.

    Args:
        module: The module without a rule.
        names: Names of the trainable parameters to look at.
        call: The arguments of its forward, flattened, and their tree.
        output: The output of the real pass (B, ...).
        g: The gradient at that output (B, ...).

    Raises:
        PrivacyError: If the forward cannot be rerun example by example, or gives another output then.
    """
    leaves, tree_spec = call
    batches = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    if not batches or any(not batch.dim() or len(batch) != len(g) for batch in batches):
        raise cannot_vmap(
            module,
            f"takes tensors of shapes {[tuple(batch.shape) for batch in batches]}",
            f"tensors alone with {len(g)} examples first",
        )
    parameters = {name: parameter.detach() for name, parameter in module.named_parameters() if name in names}
    buffers = [(buffer, buffer._version) for buffer in module.buffers()]

    # one example at a time, as a batch of one
    def forward(parameters: Mapping[str, Tensor], *example: Tensor) -> Tensor:
        tensors = iter(example)
        args, kwargs = tree_unflatten(
            [next(tensors)[None] if isinstance(leaf, Tensor) else leaf for leaf in leaves], tree_spec
        )
        result: Tensor = functional_call(
            WithoutHooks(module),
            {f"module.{name}": value for name, value in parameters.items()},
            args,
            kwargs,
        )
        return result[0]

    # G_i = J^T g_i, with respect to the parameters that are used directly
    def single_example_vjp(cotangent: Tensor, *example: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        output, vjp_function, *_ = vjp(lambda parameters: forward(parameters, *example), used)
        return output, vjp_function(cotangent)[0]

    with _rerunning(module):
        try:
            used = _parameters_used_directly(forward, parameters, [batch[0] for batch in batches], g[0])
            if not used:
                return {}
            rerun, grads = vmap(single_example_vjp, randomness="error")(g, *batches)
        except RuntimeError as error:
            raise cannot_vmap(
                module,
                f"fails one example at a time ({str(error).splitlines()[0][:200]})",
                "no randomness inside, such as dropout (give the layer dropout=0)",
            ) from error
    # the rerun must have changed nothing, and given the outputs of the real pass
    if [(id(buffer), version) for buffer, version in buffers] != [
        (id(buffer), buffer._version) for buffer in module.buffers()
    ]:
        raise cannot_vmap(module, "writes its buffers", "a forward that changes nothing")
    if not _outputs_agree(rerun, output):
        raise cannot_vmap(
            module,
            "returns another output of an example alone than in its batch",
            "no randomness, and no dependence on other examples",
        )
    return grads


def warn_and_use_vmap(label: str, module: nn.Module) -> CustomForwardRule:
    """Return the rule for a module that has none of its own, and warn of its cost."""
    num_parameters = sum(parameter.numel() for parameter in own_trainable_parameters(module).values())
    warnings.warn(
        f"layer {label!r} is a {type(module).__name__}, which has no rule for per-example gradients: its "
        f"forward runs twice, by vmap, and keeps {num_parameters} numbers for each example; "
        f"quintain.dp.register_rule({type(module).__name__}) makes it faster",
        UserWarning,
        stacklevel=2,
    )
    return VMAP_RULE


def cannot_vmap(module: nn.Module, got: str, expected: str) -> PrivacyError:
    """Return the error for a module that cannot be run example by example."""
    return PrivacyError(
        f"a {type(module).__name__} without a rule {got}; expected {expected}: register a rule for it "
        "(quintain.dp.register_rule), or freeze it"
    )


VMAP_RULE = CustomForwardRule(vmap_forward, covers_submodules=True)
"""The rule for any module without one.

Register it for a module that uses parameters of submodules without calling them.
"""


def own_trainable_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return a module's own trainable parameters, with those of parameter lists and parametrizations."""
    own = dict(module.named_parameters(recurse=False))
    for name, child in _parameter_containers(module):
        own |= {f"{name}.{inner}": parameter for inner, parameter in child.named_parameters()}
    return {name: parameter for name, parameter in own.items() if parameter.requires_grad}


def parameter_containers(root: nn.Module) -> set[nn.Module]:
    """Return the modules that only hold parameters for another one: parameter lists and parametrizations."""
    return {
        inner
        for module in root.modules()
        for _, child in _parameter_containers(module)
        for inner in child.modules()
    }


def _parameter_containers(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return those children of a module, with their names, that only hold parameters for it."""
    return [
        (name, child)
        for name, child in module.named_children()
        if isinstance(child, (nn.ParameterList, nn.ParameterDict))
        or (name == "parametrizations" and is_parametrized(module))
    ]


def _versions(leaves: list[Any]) -> list[int]:
    """Return how often each tensor among some values was changed in place."""
    return [leaf._version for leaf in leaves if isinstance(leaf, Tensor)]


def _parameters_used_directly(
    forward: Callable[..., Tensor], parameters: Mapping[str, Tensor], example: list[Tensor], g: Tensor
) -> dict[str, Tensor]:
    """Return the module's own parameters, and those of submodules that it uses without calling them."""
    with torch.enable_grad():
        leaves = {name: value.requires_grad_() for name, value in parameters.items()}
        output = forward(leaves, *example)
        grads = (
            torch.autograd.grad(output, list(leaves.values()), g, allow_unused=True)
            if output.requires_grad
            else [None] * len(leaves)
        )
    return {
        name: value.detach()
        for (name, value), grad in zip(leaves.items(), grads, strict=True)
        if grad is not None or "." not in name
    }


@contextmanager
def _rerunning(module: nn.Module) -> Iterator[None]:
    """Rerun a module in this context: submodules are not captured, and their calls give no gradients."""
    token = _RERUNNING.set(True)
    with ExitStack() as stack:
        stack.callback(_RERUNNING.reset, token)
        for inner in set(module.modules()) - parameter_containers(module) - {module}:
            if any(parameter.requires_grad for parameter in inner.parameters(recurse=False)):
                # Submodules run with detached parameters: their own rules compute those gradients.
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
    """Replace a module's parameters by detached ones, and put the replaced ones on a stack."""
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
    """Put back the parameters that were replaced last."""
    for parameters, name, value in detached.pop():
        parameters[name] = value


def _outputs_agree(rerun: Tensor, output: Tensor) -> bool:
    """Return whether two runs gave the same output up to rounding, where both are finite."""
    if rerun.shape != output.shape:
        return False
    finite = rerun.isfinite() & output.isfinite()
    rerun, output = rerun[finite], output[finite]
    largest = torch.maximum(rerun.abs(), output.abs()).amax() if len(output) else 0.0
    tolerance = RERUN_TOLERANCE * math.sqrt(torch.finfo(output.dtype).eps) * largest
    return bool(((rerun - output).abs() <= tolerance).all())
