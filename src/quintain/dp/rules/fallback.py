"""Any other module that holds parameters itself: its forward is run again, example by example under vmap, and differentiated."""

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
from quintain.dp.rules.protocol import Fused, Use

AGREEMENT = 4.0
"""How far the two runs of a forward may be apart, in square roots of the rounding unit."""

Places = list[tuple[dict[str, Any], str, Tensor]]
"""Where modules hold their parameters, by name."""

_AGAIN: ContextVar[bool] = ContextVar("again", default=False)


def running_again() -> bool:
    """Whether a forward is being run again, in which no layer inside is captured."""
    return _AGAIN.get()


class Bare(nn.Module):
    """A module without its hooks."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return type(self.module).forward(self.module, *args, **kwargs)


def run(module: nn.Module, use: Use, *args: Any, **kwargs: Any) -> Tensor:
    """The module's output, whose backward pass works out the gradients by ``vmap``.

    .. math:: G_i = J_\\theta f(x_i; \\theta)^\\top g_i

    Only the uses of parameters that the layers inside do not see count: those that the module holds itself, such as a class token, and
    weights of layers inside that are used without calling these.

    Raises:
        PrivacyError: If the forward is random, writes buffers, mixes examples, or does not take and give tensors with the batch first.
    """
    leaves, form = tree_flatten((args, kwargs))
    given = [leaf.detach() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
    versions = _versions(given)
    constants = {f"module.{name}": parameter.detach() for name, parameter in module.named_parameters() if name in use.names}
    output = functional_call(Bare(module), constants, args, kwargs)
    if not isinstance(output, Tensor) or not output.dim():
        raise refusal(module, f"gives a {type(output).__name__}", "one tensor, the batch first")
    if not output.requires_grad:
        output = output + use.needs.sum()
    kept = output.detach().clone()

    def arrived(g: Tensor) -> None:
        if _versions(given) != versions:
            raise refusal(module, "had its input changed in place", "it left alone until backward()")
        use.note(len(g), g, partial(gradients, module, use.names, (given, form), kept, g))

    output.register_hook(arrived)
    return output


def gradients(module: nn.Module, names: Collection[str], called: tuple[list[Any], Any], output: Tensor, g: Tensor) -> Mapping[str, Tensor]:
    """Of the parameters in ``names``, for each example; those of layers inside only where they are used without these."""
    leaves, form = called
    rows = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    if not rows or any(not row.dim() or len(row) != len(g) for row in rows):
        raise refusal(
            module, f"takes tensors of shapes {[tuple(row.shape) for row in rows]}", f"tensors alone with {len(g)} examples first"
        )
    own = {name: parameter.detach() for name, parameter in module.named_parameters() if name in names}
    buffers = [(buffer, buffer._version) for buffer in module.buffers()]

    def forward(parameters: Mapping[str, Tensor], *example: Tensor) -> Tensor:
        filled = iter(example)
        args, kwargs = tree_unflatten([next(filled)[None] if isinstance(leaf, Tensor) else leaf for leaf in leaves], form)
        result: Tensor = functional_call(Bare(module), {f"module.{name}": value for name, value in parameters.items()}, args, kwargs)
        return result[0]

    def one(cotangent: Tensor, *example: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        again, pull, *_ = vjp(lambda parameters: forward(parameters, *example), used)
        return again, pull(cotangent)[0]

    with _again(module):
        try:
            used = _used(forward, own, [row[0] for row in rows], g[0])
            if not used:
                return {}
            again, found = vmap(one, randomness="error")(g, *rows)
        except RuntimeError as error:
            raise refusal(module, f"fails one example at a time ({str(error).splitlines()[0][:200]})", "no randomness inside") from error
    if [(id(buffer), version) for buffer, version in buffers] != [(id(buffer), buffer._version) for buffer in module.buffers()]:
        raise refusal(module, "writes its buffers", "a forward that changes nothing")
    if not _agree(again, output):
        raise refusal(module, "gives an example another output alone than in its batch", "no randomness, and no term of other examples")
    return found


def fallback(label: str, module: nn.Module) -> Fused:
    """The rule of a module that has none, with a warning of what it costs."""
    numbers = sum(parameter.numel() for parameter in held(module).values())
    warnings.warn(
        f"layer {label!r} is a {type(module).__name__}, which has no rule for per-example gradients: its forward runs twice, by vmap, and "
        f"{numbers} numbers an example are kept; quintain.dp.register_rule({type(module).__name__}) makes it faster",
        UserWarning,
        stacklevel=2,
    )
    return BY_VMAP


def refusal(module: nn.Module, got: str, expected: str) -> PrivacyError:
    """What to say of a module that cannot be run example by example."""
    return PrivacyError(
        f"a {type(module).__name__} without a rule {got}; expected {expected}: register a rule for it "
        "(quintain.dp.register_rule), or freeze it"
    )


BY_VMAP = Fused(run, inside=True)
"""The rule of any module: also to be registered for one that uses its layers' weights without calling them, and has none itself."""


def held(module: nn.Module) -> dict[str, nn.Parameter]:
    """The trainable parameters that only the module's own forward can use: its own, and those of lists and parametrizations."""
    own = dict(module.named_parameters(recurse=False))
    for name, child in _passive(module):
        own |= {f"{name}.{inner}": parameter for inner, parameter in child.named_parameters()}
    return {name: parameter for name, parameter in own.items() if parameter.requires_grad}


def passive(root: nn.Module) -> set[nn.Module]:
    """Modules that hold parameters for another."""
    return {inner for module in root.modules() for _, child in _passive(module) for inner in child.modules()}


def _passive(module: nn.Module) -> list[tuple[str, nn.Module]]:
    return [
        (name, child)
        for name, child in module.named_children()
        if isinstance(child, (nn.ParameterList, nn.ParameterDict)) or (name == "parametrizations" and is_parametrized(module))
    ]


def _versions(given: list[Any]) -> list[int]:
    return [leaf._version for leaf in given if isinstance(leaf, Tensor)]


def _used(forward: Callable[..., Tensor], parameters: Mapping[str, Tensor], example: list[Tensor], g: Tensor) -> dict[str, Tensor]:
    """The parameters that the output depends on other than through layers inside, and all of the module's own."""
    with torch.enable_grad():
        leaves = {name: value.requires_grad_() for name, value in parameters.items()}
        output = forward(leaves, *example)
        needed = torch.autograd.grad(output, list(leaves.values()), g, allow_unused=True) if output.requires_grad else [None] * len(leaves)
    return {
        name: value.detach() for (name, value), found in zip(leaves.items(), needed, strict=True) if found is not None or "." not in name
    }


@contextmanager
def _again(module: nn.Module) -> Iterator[None]:
    """Layers inside are not captured, and their own uses of their weights do not count."""
    token = _AGAIN.set(True)
    with ExitStack() as stack:
        stack.callback(_AGAIN.reset, token)
        for inner in set(module.modules()) - passive(module) - {module}:
            if any(parameter.requires_grad for parameter in inner.parameters(recurse=False)):
                held: list[Places] = []
                stack.callback(inner.register_forward_pre_hook(partial(_hide, held), prepend=True).remove)
                stack.callback(inner.register_forward_hook(partial(_show, held), always_call=True).remove)
        yield


def _hide(held: list[Places], module: nn.Module, _args: Any) -> None:
    places: Places = [
        (inner._parameters, name, value) for inner in module.modules() for name, value in inner._parameters.items() if value is not None
    ]
    held.append(places)
    for parameters, name, value in places:
        parameters[name] = value.detach()


def _show(held: list[Places], _module: nn.Module, _args: Any, _output: Any) -> None:
    for parameters, name, value in held.pop():
        parameters[name] = value


def _agree(again: Tensor, output: Tensor) -> bool:
    """Whether two runs gave the same but for rounding, where both are finite."""
    if again.shape != output.shape:
        return False
    finite = again.isfinite() & output.isfinite()
    one, other = again[finite], output[finite]
    size = torch.maximum(one.abs(), other.abs()).amax() if len(one) else 0.0
    return bool(((one - other).abs() <= AGREEMENT * math.sqrt(torch.finfo(output.dtype).eps) * size).all())
