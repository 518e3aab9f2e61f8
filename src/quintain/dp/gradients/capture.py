"""What each trainable layer gives for single examples, caught in training mode with gradients on; the layers stay the user's own.

While a layer runs, its parameters are told to need no gradient: the backward pass then works out no plain gradient of them, and the
gradient at the layer's output is all that is needed.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from inspect import signature
from types import MethodType
from typing import Any, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.hooks import RemovableHandle

from quintain.core.errors import PrivacyError
from quintain.dp.draws.pieces import NOTHING, Piece
from quintain.dp.gradients.forms import Dense, PerExample
from quintain.dp.gradients.validation import mixing, refuse_mixing, refuse_without_rule
from quintain.dp.rules import RULES, Fused, Rule, Use, Whole
from quintain.dp.rules.attention import sequence_first
from quintain.dp.rules.fallback import fallback, held, passive, running_again
from quintain.dp.rules.protocol import Found

COARSEST = 1e-6
"""The largest rounding unit of gradients that are clipped."""

CAPTURES: "WeakKeyDictionary[nn.Module, Capture]" = WeakKeyDictionary()
"""Which capture each trainable layer is under."""


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


@dataclass(slots=True, eq=False)
class Pass:
    """One forward pass of the whole module, with what its backward pass has brought so far."""

    draw: Piece
    gradients: dict[nn.Parameter, PerExample] = field(default_factory=dict)
    batch: int | None = None
    taken: bool = False

    def add(self, layer: Layer, found: Found) -> None:
        """Take note of one use of ``layer``.

        Raises:
            PrivacyError: If the rule does not give all trainable parameters, and these alone, in their shapes.
        """
        if not {name for name in layer.parameters if "." not in name} <= set(found) <= set(layer.parameters):
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
        drawn: The piece of a batch in hand.
        finished: Called with a pass that is complete because the next one begins.
        rules: Rules for more kinds of layer, or other rules.
        batch_first: Whether the batch is the first dimension of what layers take and give, or the second where there are three or more.

    Raises:
        PrivacyError: If a trainable parameter is in a layer without a rule, or a layer mixes examples.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        drawn: Callable[[], Piece] = lambda: NOTHING,
        finished: Callable[[Pass], None] = lambda _turn: None,
        rules: Mapping[type[nn.Module], Rule] | None = None,
        batch_first: bool = True,
    ) -> None:
        self.layers = _layers(module, {**RULES, **(rules or {})}, batch_first=batch_first)
        self._drawn, self._finished = drawn, finished
        self._of = {layer.module: layer for layer in self.layers}
        self._mixing = mixing(module)
        self.enabled, self.batch_first = True, batch_first
        self._pending: list[Pass] = []
        self._turn: Pass | None = None
        self._root = module
        self._trainable = _trainable(module)
        self._needs = torch.ones(0, requires_grad=True)
        self._hidden: set[nn.Parameter] = set()
        refuse_mixing(self._mixing)
        self._handles = list(self._hooks())
        for layer in self.layers:
            CAPTURES[layer.module] = self
            if isinstance(layer.rule, Fused):
                layer.module.forward = MethodType(_forward, layer.module)

    @property
    def root(self) -> nn.Module:
        """The module to train."""
        return self._root

    @property
    def pending(self) -> tuple[Pass, ...]:
        """What ``take`` would hand over."""
        return tuple(self._pending)

    @property
    def alive(self) -> bool:
        """Whether the hooks are on, and no later capture has taken over."""
        return any(CAPTURES.get(layer.module) is self for layer in self.layers)

    def keep(self, *handles: RemovableHandle) -> None:
        """Take further hooks off together with these."""
        self._handles.extend(handles)

    def serve(self, *, drawn: Callable[[], Piece], finished: Callable[[Pass], None]) -> None:
        """Mark passes by ``drawn`` and hand them to ``finished`` from now on."""
        self._drawn, self._finished = drawn, finished

    def hands_to(self, finished: Callable[[Pass], None]) -> bool:
        """Whether passes are still caught, and handed to this."""
        return self.alive and self._finished == finished

    def trial(self, of: Tensor) -> Mapping[nn.Parameter, PerExample]:
        """What a backward pass from a number that the last pass has given would bring; the pass stays as it was."""
        kept, self._pending = self._pending, []
        try:
            torch.autograd.grad(of, self._needs, retain_graph=True, allow_unused=True)
            found = [(turn, turn.gradients) for turn in self._pending]
            for turn, _ in found:
                turn.gradients, turn.batch = {}, None
            return found[0][1] if found else {}
        finally:
            self._pending = kept

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
                if isinstance(layer.rule, Fused):
                    del layer.module.forward

    def run(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """The outputs of a fused layer, whose backward pass brings the gradients of its parameters."""
        layer = self._caught(module)
        if layer is None:
            return type(module).forward(module, *args, **kwargs)
        assert isinstance(layer.rule, Fused)
        use = Use(layer.parameters.keys(), self._needs, partial(self.note, layer, self._current(layer)))
        return layer.rule.run(module, use, *args, **kwargs)

    def watch(self, layer: Layer, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Tensor) -> Tensor:
        """The layer's output, whose backward pass brings the gradients of the layer's parameters."""
        turn = self._current(layer)
        read, rule = _read(layer, args, kwargs)
        versions = [x._version for x in read]
        if not output.requires_grad:
            output = _Source.apply((output,), self._needs)

        def arrived(g: Tensor) -> None:
            if [x._version for x in read] != versions:
                raise PrivacyError(
                    f"the input of layer {layer.name!r} was changed in place after the layer had read it; expected it left alone until "
                    "backward(): use the operation that is not in place"
                )
            g = layer.examples(g)
            self.note(layer, turn, len(g), g, rule(g))

        output.register_hook(arrived)
        return output

    def note(self, layer: Layer, turn: Pass, batch: int, g: Tensor, found: Callable[[], Found]) -> None:
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
        if module is not self._root or not module.training or not torch.is_grad_enabled() or not self.enabled:
            return
        refuse_mixing(self._mixing)
        self._uncover(*self._hidden)
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
        live = self._root.training and torch.is_grad_enabled() and self.enabled and not running_again()
        return self._of.get(module) if live else None

    def _current(self, layer: Layer) -> Pass:
        if CAPTURES.get(layer.module) is not self:
            raise PrivacyError(
                f"layer {layer.name!r} belongs to two private optimisers; expected one: end the earlier by its optimizer.capture.remove()"
            )
        if self._turn is None:
            raise PrivacyError(
                f"layer {layer.name!r} was used in training outside the module's own forward; expected every use inside it: "
                "call the module itself, without activation checkpointing, and keep other uses under torch.no_grad()"
            )
        return self._turn

    def _before(self, module: nn.Module) -> None:
        layer = self._caught(module)
        if layer is None:
            return
        self._current(layer)
        for parameter in layer.parameters.values():
            parameter.requires_grad_(False)
        self._hidden.update(layer.parameters.values())

    def _uncover(self, *parameters: nn.Parameter) -> None:
        """Let parameters need gradients again; those of a layer that was interrupted wait for the next pass."""
        for parameter in parameters:
            parameter.requires_grad_(True)
        self._hidden.difference_update(parameters)

    def _after(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        layer = self._caught(module)
        if layer is None:
            return output
        self._uncover(*layer.parameters.values())
        if output is None or self._turn is None or isinstance(layer.rule, Fused):
            return output
        return self.watch(layer, args, kwargs, output)


def _forward(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """In place of the forward of a fused layer; a copy of the layer has it too, and runs as if it had not."""
    capture = CAPTURES.get(module)
    return capture.run(module, args, kwargs) if capture else type(module).forward(module, *args, **kwargs)


def _read(layer: Layer, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[list[Tensor], Callable[[Tensor], Callable[[], Found]]]:
    """The tensors that a layer is called with, and what its rule makes of them once the gradient at its output is known."""
    module, rule, names = layer.module, layer.rule, layer.parameters.keys()
    assert not isinstance(rule, Fused)
    if isinstance(rule, Whole):
        whole, bound = rule.rule, signature(type(module).forward).bind(module, *args, **kwargs).arguments
        given = {name: x.detach() if isinstance(x, Tensor) else x for name, x in list(bound.items())[1:]}
        return [x for x in given.values() if isinstance(x, Tensor)], lambda g: lambda: whole(module, given, g, names)
    simple, first = rule, cast(Tensor, next(iter((*args, *kwargs.values())))).detach()
    a = layer.examples(first)

    def sized(g: Tensor) -> Callable[[], Found]:
        if not a.dim() or len(a) != len(g):
            raise PrivacyError(
                f"layer {layer.name!r} got an input of shape {tuple(first.shape)} in a pass over {len(g)} examples; "
                "expected the batch as first dimension of every trainable layer's input"
            )
        return lambda: simple(module, a, g, names)

    return [first], sized


def _layers(module: nn.Module, rules: Mapping[type[nn.Module], Rule], *, batch_first: bool) -> tuple[Layer, ...]:
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
        if fused and "forward" in vars(child) and getattr(child.forward, "__func__", None) is not _forward:
            raise PrivacyError(f"layer {label!r} has a forward of its own; expected that of its class, {type(child).__name__}")
        layers.append(Layer(label, child, rule, own, batch_dim=int(child in columns or not batch_first)))
    if not layers:
        raise PrivacyError("the module has no trainable parameter; expected at least one with requires_grad=True")
    return tuple(layers)


def _trainable(module: nn.Module) -> set[nn.Parameter]:
    return {parameter for parameter in module.parameters() if parameter.requires_grad}
