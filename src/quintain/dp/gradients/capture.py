"""Per-example gradients of trainable layers, caught by hooks; the layers stay the user's own.

While a layer runs, ``requires_grad`` of its parameters is off: the backward pass then computes no plain
gradient of them. Only the gradient at the layer's output is needed.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from types import MethodType
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.hooks import RemovableHandle

from quintain.core.errors import PrivacyError
from quintain.dp.draws.pieces import NOTHING, Piece
from quintain.dp.gradients.forms import PerExample
from quintain.dp.gradients.layers import Layer, layers_of, reading
from quintain.dp.gradients.passes import Pass
from quintain.dp.gradients.precision import full, require_full, uncast, widened, widened_all
from quintain.dp.gradients.validation import mixing, refuse_compiled, refuse_mixing
from quintain.dp.rules import RULES, Fused, Rule, Use
from quintain.dp.rules.fallback import running_again
from quintain.dp.rules.protocol import Found

CAPTURES: "WeakKeyDictionary[nn.Module, Capture]" = WeakKeyDictionary()
"""Which capture each trainable layer is under."""


class _Source(torch.autograd.Function):
    """The identity on a tensor without gradient; its output needs one, so that backward hooks on it run."""

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
        drawn: Gives the piece of a batch in hand.
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
        refuse_compiled(module)
        self.layers = layers_of(module, {**RULES, **(rules or {})}, batch_first=batch_first)
        for layer in self.layers:
            _check_own(layer)
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
        self._running = ExitStack()
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
        """The passes that ``take`` would hand over."""
        return tuple(self._pending)

    @property
    def turn(self) -> Pass | None:
        """The forward pass that is under way."""
        return self._turn

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
        """The gradients that ``backward()`` of a scalar of the last pass would bring, without any effect."""
        kept, self._pending = self._pending, []
        try:
            with self.full():
                torch.autograd.grad(of, self._needs, retain_graph=True, allow_unused=True)
            found = [(turn, turn.gradients) for turn in self._pending]
            for turn, _ in found:
                turn.gradients, turn.batch = {}, None
            return found[0][1] if found else {}
        finally:
            self._pending = kept

    def full(self) -> AbstractContextManager[None]:
        """A context in which products have all bits of float32: no TF32, no bfloat16."""
        return full(next(iter(self._trainable)).device)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Catch nothing meanwhile."""
        before, self.enabled = self.enabled, False
        try:
            with self.full():
                yield
        finally:
            self.enabled = before

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
        parameter = next(iter(module.parameters()))
        with uncast(parameter.device.type):
            args, kwargs = widened_all((args, dict(kwargs)), parameter.dtype)
            return layer.rule.run(module, use, *args, **kwargs)

    def watch(self, layer: Layer, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Tensor) -> Tensor:
        """The layer's output, whose backward pass brings the gradients of the layer's parameters."""
        turn = self._current(layer)
        read, rule = reading(layer, args, kwargs)
        dtype = next(iter(layer.parameters.values())).dtype
        versions = [x._version for x in read]
        if not output.requires_grad:
            output = _Source.apply((output,), self._needs)

        def arrived(g: Tensor) -> None:
            if [x._version for x in read] != versions:
                raise PrivacyError(
                    f"the input of layer {layer.name!r} was changed in place after the layer had read it; expected it left alone until "
                    "backward(): use the operation that is not in place"
                )
            g = widened(layer.examples(g), dtype)
            self.note(layer, turn, len(g), g, rule(g))

        output.register_hook(arrived)
        return output

    def note(self, layer: Layer, turn: Pass, batch: int, g: Tensor, found: Callable[[], Found]) -> None:
        """Add one use of a layer to its pass, once the backward pass has reached it."""
        if turn.batch is None:
            require_full(g.device)
        turn.admit(layer, batch, g.dtype)
        if not any(turn is known for known in self._pending):
            self._pending.append(turn)
        with torch.no_grad(), uncast(g.device.type):
            turn.add(layer, found() if batch else {name: p.new_zeros(0, *p.shape) for name, p in layer.parameters.items()})

    def _hooks(self) -> Iterator[RemovableHandle]:
        """Register all hooks: a deep copy of the module shares them, but they act on this one alone."""
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
        if module is self._root:
            self._running.close()
        if module is not self._root or not module.training or not torch.is_grad_enabled() or not self.enabled:
            return
        if torch._C._current_graph_task_id() != -1:
            raise PrivacyError(
                "the module's forward was run inside a backward pass, as activation checkpointing around it does; expected it called in "
                "the loop alone: for batches that do not fit into memory, set max_physical_batch"
            )
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
        self._running.enter_context(self.full())

    def _close(self, module: nn.Module) -> None:
        if module is self._root:
            self._running.close()
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
        """Switch ``requires_grad`` on again; for a layer that an error interrupted, the next pass does it."""
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
    """The forward of a fused layer under a capture; a copy of the layer has it too, but runs its class'."""
    capture = CAPTURES.get(module)
    return capture.run(module, args, kwargs) if capture else type(module).forward(module, *args, **kwargs)


def _trainable(module: nn.Module) -> set[nn.Parameter]:
    return {parameter for parameter in module.parameters() if parameter.requires_grad}


def _check_own(layer: Layer) -> None:
    """Raise if the forward of a fused layer was replaced by anything but ``_forward``."""
    module = layer.module
    if isinstance(layer.rule, Fused) and "forward" in vars(module) and getattr(module.forward, "__func__", None) is not _forward:
        raise PrivacyError(f"layer {layer.name!r} has a forward of its own; expected that of its class, {type(module).__name__}")
