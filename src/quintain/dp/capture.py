"""What each trainable layer gives for single examples, caught in training mode with gradients on; the layers stay the user's own.

While a layer runs, its parameters are told to need no gradient: the backward pass then works out no plain gradient of them, and the
gradient at the layer's output is all that is needed.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.hooks import RemovableHandle

from quintain.core.errors import PrivacyError
from quintain.dp.forms import Dense, PerExample
from quintain.dp.rules import RULES, Rule
from quintain.dp.validation import mixing, refuse_mixing, without_rule

COARSEST = 1e-6
"""The largest rounding unit of gradients that are clipped."""

CAPTURES: "WeakKeyDictionary[nn.Module, Capture]" = WeakKeyDictionary()
"""Which capture each trainable layer is under."""


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A layer with parameters to train: its name in the module, its rule, and these parameters by name."""

    name: str
    module: nn.Module
    rule: Rule
    parameters: Mapping[str, nn.Parameter]


@dataclass(slots=True, eq=False)
class Pass:
    """One forward pass of the whole module, with what its backward pass has brought so far."""

    draw: int
    gradients: dict[nn.Parameter, PerExample] = field(default_factory=dict)
    batch: int | None = None
    taken: bool = False

    def add(self, layer: Layer, found: Mapping[str, PerExample | Tensor]) -> None:
        """Take note of one use of ``layer``.

        Raises:
            PrivacyError: If the rule does not give all trainable parameters, and these alone, in their shapes.
        """
        if set(found) != set(layer.parameters):
            raise PrivacyError(
                f"the rule of layer {layer.name!r} gives gradients of {sorted(found)}, and its trainable parameters are "
                f"{sorted(layer.parameters)}; expected all of them and no others"
            )
        for name, given in found.items():
            parameter = layer.parameters[name]
            gradient: PerExample = Dense(given) if isinstance(given, Tensor) else given
            if gradient.shape != parameter.shape:
                raise PrivacyError(
                    f"the rule of layer {layer.name!r} gives gradients of {name!r} of shape {tuple(gradient.shape)} an example; "
                    f"expected {tuple(parameter.shape)}"
                )
            known = self.gradients.get(parameter)
            self.gradients[parameter] = gradient if known is None else known.plus(gradient)

    def admit(self, layer: Layer, batch: int, precision: torch.dtype) -> None:
        """Check that gradients of so many examples may be added.

        Raises:
            PrivacyError: If they are of another batch, rounded too coarsely, or the pass was handed over.
        """
        if self.taken:
            raise PrivacyError(
                "backward() through a forward pass whose gradients were already clipped or dropped; expected all of its backward passes "
                "before the module's next forward pass, step() or zero_grad()"
            )
        if torch.is_grad_enabled():
            raise PrivacyError(
                "got a backward pass that is itself to be differentiated (create_graph=True); expected a plain one: second derivatives "
                "have no per-example gradients here"
            )
        if torch.finfo(precision).eps > COARSEST:
            raise PrivacyError(
                f"layer {layer.name!r} got gradients in {precision}, in which sums of clipped gradients are not exact enough for the "
                "bound; expected float32 or float64: no half precision, no autocast"
            )
        if self.batch not in (None, batch):
            raise PrivacyError(
                f"layer {layer.name!r} got {batch} examples in a pass over {self.batch}; "
                "expected the batch as first dimension of every trainable layer's input"
            )
        self.batch = batch


class _Source(torch.autograd.Function):
    """A tensor that no gradient is needed behind, as one that needs a gradient itself."""

    @staticmethod
    def forward(_ctx: Any, output: tuple[Tensor], _needs: Tensor) -> Tensor:
        return output[0].detach()

    @staticmethod
    @once_differentiable
    def backward(_ctx: Any, _g: Tensor) -> tuple[None, None]:
        return None, None


class Capture:
    """Hooks on a module that catch, in each training pass, the gradients of single examples.

    Evaluation passes, passes without gradients, and copies of the module are left alone.

    Args:
        module: The module to train.
        drawn: Number of the current batch.
        finished: Called with a pass that is complete because the next one begins.
        rules: Rules for more kinds of layer, or other rules.

    Raises:
        PrivacyError: If a trainable parameter is in a layer without a rule, or a layer mixes examples.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        drawn: Callable[[], int],
        finished: Callable[[Pass], None],
        rules: Mapping[type[nn.Module], Rule] | None = None,
    ) -> None:
        self.layers = _layers(module, {**RULES, **(rules or {})})
        self._drawn, self._finished = drawn, finished
        self._of = {layer.module: layer for layer in self.layers}
        self._mixing = mixing(module)
        self._pending: list[Pass] = []
        self._turn: Pass | None = None
        self._root = module
        self._trainable = _trainable(module)
        self._needs = torch.ones(0, requires_grad=True)
        refuse_mixing(self._mixing)
        self._handles = list(self._hooks())
        for layer in self.layers:
            CAPTURES[layer.module] = self

    def take(self) -> list[Pass]:
        """The passes that have had a backward pass and were not handed over yet."""
        passes, self._pending = self._pending, []
        for turn in passes:
            turn.taken = True
        return passes

    def remove(self) -> None:
        """Take the hooks off: the module trains plainly again."""
        for handle in self._handles:
            handle.remove()
        for layer in self.layers:
            if CAPTURES.get(layer.module) is self:
                del CAPTURES[layer.module]

    def watch(self, module: nn.Module, a: Tensor, output: Tensor) -> Tensor:
        """The layer's output, whose backward pass brings the gradients of the layer's parameters."""
        layer, turn, version = self._of[module], self._turn, a._version
        assert turn is not None
        a = a.detach()
        if not output.requires_grad:
            output = _Source.apply((output,), self._needs)

        def arrived(g: Tensor) -> None:
            sizes = {len(a) if a.dim() else 0, len(g)}
            if len(sizes) > 1:
                raise PrivacyError(
                    f"layer {layer.name!r} got an input of shape {tuple(a.shape)} in a pass over {len(g)} examples; "
                    "expected the batch as first dimension of every trainable layer's input"
                )
            if a._version != version:
                raise PrivacyError(
                    f"the input of layer {layer.name!r} was changed in place after the layer had read it; expected it left alone until "
                    "backward(): use the operation that is not in place"
                )
            self.note(layer, turn, len(g), g, lambda: layer.rule(layer.module, a, g, layer.parameters.keys()))

        output.register_hook(arrived)
        return output

    def note(self, layer: Layer, turn: Pass, batch: int, g: Tensor, found: Callable[[], Mapping[str, PerExample | Tensor]]) -> None:
        """One use of a layer, as seen by the backward pass."""
        turn.admit(layer, batch, g.dtype)
        if not any(turn is known for known in self._pending):
            self._pending.append(turn)
        with torch.no_grad():
            turn.add(layer, found() if batch else {name: p.new_zeros(0, *p.shape) for name, p in layer.parameters.items()})

    def _hooks(self) -> Iterator[RemovableHandle]:
        """Plain functions, which a deep copy of the module shares: they know that it is another module, and leave it alone."""
        yield self._root.register_forward_pre_hook(lambda module, _args: self._open(module), prepend=True)
        for layer in self.layers:
            yield layer.module.register_forward_pre_hook(lambda module, _args: self._before(module))
            yield layer.module.register_forward_hook(
                lambda module, args, kwargs, output: self._after(module, args, kwargs, output),  # noqa: PLW0108
                with_kwargs=True,
                always_call=True,
            )
        yield self._root.register_forward_hook(lambda module, _args, _output: self._close(module), always_call=True)

    def _open(self, module: nn.Module) -> None:
        if module is not self._root or not module.training or not torch.is_grad_enabled():
            return
        refuse_mixing(self._mixing)
        if _trainable(module) != self._trainable:
            raise PrivacyError(
                "the module's trainable parameters are not those that were made private; expected no freezing, unfreezing or replacing "
                "afterwards: call make_private again on the changed module and a fresh optimiser"
            )
        for turn in self.take():
            self._finished(turn)
        self._turn = Pass(self._drawn())

    def _close(self, module: nn.Module) -> None:
        if module is self._root:
            self._turn = None

    def _caught(self, module: nn.Module) -> Layer | None:
        return self._of.get(module) if self._root.training and torch.is_grad_enabled() else None

    def _before(self, module: nn.Module) -> None:
        layer = self._caught(module)
        if layer is None:
            return
        if CAPTURES.get(module) is not self:
            raise PrivacyError(
                f"layer {layer.name!r} belongs to two private optimisers; expected one: end the earlier by its optimizer.capture.remove()"
            )
        if self._turn is None:
            raise PrivacyError(
                f"layer {layer.name!r} was used in training outside the module's own forward; expected every use inside it: "
                "call the module itself, without activation checkpointing, and keep other uses under torch.no_grad()"
            )
        for parameter in layer.parameters.values():
            parameter.requires_grad_(False)

    def _after(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor | None) -> Tensor | None:
        layer = self._caught(module)
        if layer is None:
            return output
        for parameter in layer.parameters.values():
            parameter.requires_grad_(True)
        if output is None or self._turn is None:
            return output
        return self.watch(module, cast(Tensor, args[0] if args else next(iter(kwargs.values()))), output)


def _layers(module: nn.Module, rules: Mapping[type[nn.Module], Rule]) -> tuple[Layer, ...]:
    layers: list[Layer] = []
    for name, child in module.named_modules():
        own = {key: parameter for key, parameter in child.named_parameters(recurse=False) if parameter.requires_grad}
        if not own:
            continue
        label = name or type(child).__name__
        if type(child) not in rules:
            raise without_rule(label, child, rules)
        layers.append(Layer(label, child, rules[type(child)], own))
    if not layers:
        raise PrivacyError("the module has no trainable parameter; expected at least one with requires_grad=True")
    return tuple(layers)


def _trainable(module: nn.Module) -> set[nn.Parameter]:
    return {parameter for parameter in module.parameters() if parameter.requires_grad}
