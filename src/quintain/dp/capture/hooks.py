"""Hooks that capture per-example gradients of trainable layers; the layers stay the user's own.

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
from quintain.dp.capture.captured_pass import CapturedPass
from quintain.dp.capture.layer_checks import check_no_mixing, check_not_compiled, norm_layers
from quintain.dp.capture.observer import CaptureObserver
from quintain.dp.capture.trainable_layers import TrainableLayer, bind_rule, find_trainable_layers
from quintain.dp.per_example.grads import PerExampleGrads
from quintain.dp.per_example.precision import (
    full_precision,
    require_full_precision,
    widen,
    widen_all,
)
from quintain.dp.rules import RULES, CustomForwardRule, LayerCall, Rule
from quintain.dp.rules.protocol import ParameterGrads
from quintain.dp.rules.vmap_fallback import is_rerunning
from quintain.dp.sampling.physical_batch import NO_BATCH, PhysicalBatch
from quintain.models.precision import without_autocast

_CAPTURE_OF_LAYER: "WeakKeyDictionary[nn.Module, Capture]" = WeakKeyDictionary()
"""The capture of each trainable layer."""


class _RequireGrad(torch.autograd.Function):
    """Returns its input as a tensor that requires a gradient, although nothing before it does.

    A first layer needs this: its parameters are switched off while it runs and its input is data, so that
    otherwise no backward hook could be attached to its output.
    """

    @staticmethod
    def forward(_ctx: Any, output: tuple[Tensor], _grad_anchor: Tensor) -> Tensor:
        return output[0].detach()

    @staticmethod
    @once_differentiable
    def backward(_ctx: Any, _g: Tensor) -> tuple[None, None]:
        return None, None


class Capture:
    """Hooks on a module that capture the per-example gradients of each training pass.

    Evaluation passes, passes without gradients, and copies of the module are left alone.

    Args:
        module: The module to train.
        current_batch: Returns the physical batch that the user holds.
        on_pass_complete: Called with a pass that is complete because the next one begins.
        rules: Rules for more kinds of layer, or other rules.
        batch_first: Whether the batch is the first dimension of inputs and outputs, or the second where there
            are three or more.

    Raises:
        PrivacyError: If a trainable parameter is in a layer without a rule, or a layer mixes examples.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        current_batch: Callable[[], PhysicalBatch] = lambda: NO_BATCH,
        on_pass_complete: Callable[[CapturedPass], None] = lambda _captured: None,
        rules: Mapping[type[nn.Module], Rule] | None = None,
        batch_first: bool = True,
    ) -> None:
        check_not_compiled(module)
        self.layers = find_trainable_layers(module, {**RULES, **(rules or {})}, batch_first=batch_first)
        for layer in self.layers:
            _check_forward_is_class_forward(layer)
        self._current_batch, self._on_pass_complete = current_batch, on_pass_complete
        self._layer_of_module = {layer.module: layer for layer in self.layers}
        self._norm_layers = norm_layers(module)
        self.enabled, self.batch_first = True, batch_first
        self.observer: CaptureObserver | None = None
        self._pending: list[CapturedPass] = []
        self._open_pass: CapturedPass | None = None
        self._root = module
        self._trainable = _trainable(module)
        self._grad_anchor = torch.ones(0, requires_grad=True)
        self._frozen_for_forward: set[nn.Parameter] = set()
        self._forward_context = ExitStack()
        check_no_mixing(self._norm_layers)
        self._handles = list(self._hooks())
        for layer in self.layers:
            _CAPTURE_OF_LAYER[layer.module] = self
            if isinstance(layer.rule, CustomForwardRule):
                layer.module.forward = MethodType(_fused_forward, layer.module)

    @property
    def root(self) -> nn.Module:
        """The module to train."""
        return self._root

    @property
    def pending(self) -> tuple[CapturedPass, ...]:
        """The passes that ``pop_passes`` would return."""
        return tuple(self._pending)

    @property
    def open_pass(self) -> CapturedPass | None:
        """The forward pass that is in progress."""
        return self._open_pass

    @property
    def is_attached(self) -> bool:
        """Whether the hooks are attached, and no later capture has taken over."""
        return any(_CAPTURE_OF_LAYER.get(layer.module) is self for layer in self.layers)

    def add_handles(self, *handles: RemovableHandle) -> None:
        """Add handles of hooks that ``remove`` takes off too."""
        self._handles.extend(handles)

    def connect(
        self, *, current_batch: Callable[[], PhysicalBatch], on_pass_complete: Callable[[CapturedPass], None]
    ) -> None:
        """Label passes by ``current_batch`` and deliver them to ``on_pass_complete`` from now on."""
        self._current_batch, self._on_pass_complete = current_batch, on_pass_complete

    def delivers_to(self, on_pass_complete: Callable[[CapturedPass], None]) -> bool:
        """Whether passes are still captured, and delivered to this callback."""
        return self.is_attached and self._on_pass_complete == on_pass_complete

    def dry_run(self, scalar: Tensor) -> Mapping[nn.Parameter, PerExampleGrads]:
        """The per-example gradients of a scalar of the last pass, leaving no trace.

        The graph, the pending passes and the pass itself are left as they were.
        """
        # pending passes are put aside, and what this backward adds to the open pass is taken out again
        pending, self._pending = self._pending, []
        observer, self.observer = self.observer, None
        try:
            with self.full_precision():
                torch.autograd.grad(scalar, self._grad_anchor, retain_graph=True, allow_unused=True)
            found = [(captured, captured.gradients) for captured in self._pending]
            for captured, _ in found:
                captured.gradients, captured.batch_size = {}, None
            return found[0][1] if found else {}
        finally:
            self._pending, self.observer = pending, observer

    def full_precision(self) -> AbstractContextManager[None]:
        """A context in which products have all bits of float32: no TF32, no bfloat16."""
        return full_precision(next(iter(self._trainable)).device)

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Capture nothing in this context."""
        before, self.enabled = self.enabled, False
        try:
            with self.full_precision():
                yield
        finally:
            self.enabled = before

    def pop_passes(self) -> list[CapturedPass]:
        """The passes that have had a backward pass and were not returned before."""
        if self.observer is not None:
            self.observer.before_handover()
        passes, self._pending = self._pending, []
        for captured in passes:
            captured.consumed = True
        return passes

    def discard_passes(self) -> None:
        """Drop the gradients of all passes that were not returned yet."""
        if self.observer is not None:
            self.observer.on_discard()
        self.pop_passes()

    def remove(self) -> None:
        """Detach the hooks: the module trains plainly again."""
        for handle in self._handles:
            handle.remove()
        for layer in self.layers:
            if _CAPTURE_OF_LAYER.get(layer.module) is self:
                del _CAPTURE_OF_LAYER[layer.module]
                if isinstance(layer.rule, CustomForwardRule):
                    del layer.module.forward

    def run_layer(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """The outputs of a layer with a custom forward, whose backward records its per-example gradients."""
        layer = self._active_layer(module)
        if layer is None:
            return type(module).forward(module, *args, **kwargs)
        assert isinstance(layer.rule, CustomForwardRule)
        call = LayerCall(
            layer.parameters.keys(),
            self._grad_anchor,
            partial(self.record_use, layer, self._require_open_pass(layer)),
        )
        parameter = next(iter(module.parameters()))
        with without_autocast(parameter.device.type):
            args, kwargs = widen_all((args, dict(kwargs)), parameter.dtype)
            return layer.rule.forward(module, call, *args, **kwargs)

    def hook_output(
        self, layer: TrainableLayer, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Tensor
    ) -> Tensor:
        """Return the layer's output with a hook for the layer's per-example gradients.

        It records them in the backward pass.
        """
        captured = self._require_open_pass(layer)
        inputs, rule = bind_rule(layer, args, kwargs)
        dtype = next(iter(layer.parameters.values())).dtype
        versions = [x._version for x in inputs]
        # the layer's parameters need no gradient while it runs: an output that then needs none either must be
        # made to, or no hook fires
        if not output.requires_grad:
            output = _RequireGrad.apply((output,), self._grad_anchor)

        def on_output_grad(g: Tensor) -> None:
            # the input must still be what the layer read; then the rule works from it and the output gradient
            if [x._version for x in inputs] != versions:
                raise PrivacyError(
                    f"the input of layer {layer.name!r} was changed in place after the layer had read it; "
                    "expected it left alone until backward(): use the operation that is not in place"
                )
            g = widen(layer.to_batch_first(g), dtype)
            self.record_use(layer, captured, len(g), g, rule(g))

        output.register_hook(on_output_grad)
        return output

    def record_use(
        self,
        layer: TrainableLayer,
        captured: CapturedPass,
        batch_size: int,
        g: Tensor,
        compute_grads: Callable[[], ParameterGrads],
    ) -> None:
        """Add the gradients of one use of a layer to its pass, once the backward pass has reached it."""
        if captured.batch_size is None:
            require_full_precision(g.device)
        captured.check_can_add(layer, batch_size, g.dtype)
        if not any(captured is known for known in self._pending):
            self._pending.append(captured)
        with torch.no_grad(), without_autocast(g.device.type):
            captured.add_layer_grads(
                layer,
                compute_grads()
                if batch_size
                else {name: p.new_zeros(0, *p.shape) for name, p in layer.parameters.items()},
            )
        if self.observer is not None:
            self.observer.on_grads(layer, captured)

    def _hooks(self) -> Iterator[RemovableHandle]:
        """Register all hooks; a deep copy of the module shares them, but they act on this module alone.

        Order: root pre (new pass), layer pre (parameters off), layer forward, layer post (parameters on, hook
        on the output), root post. ``always_call``, so that an exception cannot leave parameters off.
        """
        yield self._root.register_forward_pre_hook(
            lambda module, _args: self._begin_forward(module), prepend=True
        )
        for layer in self.layers:
            yield layer.module.register_forward_pre_hook(
                lambda module, _args: self._layer_pre_forward(module)
            )
            yield layer.module.register_forward_hook(
                lambda module, args, kwargs, output: (  # noqa: PLW0108
                    self._layer_post_forward(module, args, kwargs, output)
                ),
                with_kwargs=True,
                always_call=True,
            )
        yield self._root.register_forward_hook(
            lambda module, _args, _output: self._end_forward(module), always_call=True
        )

    def _begin_forward(self, module: nn.Module) -> None:
        if module is self._root:
            self._forward_context.close()
        if module is not self._root or not module.training or not torch.is_grad_enabled() or not self.enabled:
            return
        if torch._C._current_graph_task_id() != -1:
            raise PrivacyError(
                "the module's forward was run inside a backward pass, as activation checkpointing around it "
                "does; expected it called in the loop alone: for batches that do not fit into memory, set "
                "max_physical_batch_size"
            )
        check_no_mixing(self._norm_layers)
        # parameters of a layer whose forward raised are switched on again here
        self._restore_requires_grad(*self._frozen_for_forward)
        if _trainable(module) != self._trainable:
            raise PrivacyError(
                "the module's trainable parameters are not those that were made private; expected no "
                "freezing, unfreezing or replacing afterwards: call make_private again on the changed module "
                "and a fresh optimizer"
            )
        # the next forward means that the pass before is complete
        for captured in self.pop_passes():
            self._on_pass_complete(captured)
        self._open_pass = CapturedPass(self._current_batch())
        self._forward_context.enter_context(self.full_precision())

    def _end_forward(self, module: nn.Module) -> None:
        if module is self._root:
            self._forward_context.close()
            self._open_pass = None

    def _active_layer(self, module: nn.Module) -> TrainableLayer | None:
        live = self._root.training and torch.is_grad_enabled() and self.enabled and not is_rerunning()
        return self._layer_of_module.get(module) if live else None

    def _require_open_pass(self, layer: TrainableLayer) -> CapturedPass:
        if _CAPTURE_OF_LAYER.get(layer.module) is not self:
            raise PrivacyError(
                f"layer {layer.name!r} belongs to two private optimizers; expected one: end the earlier by "
                "its optimizer.capture.remove()"
            )
        if self._open_pass is None:
            raise PrivacyError(
                f"layer {layer.name!r} was used in training outside the module's own forward; expected every "
                "use inside it: call the module itself, without activation checkpointing, and keep other "
                "uses under torch.no_grad()"
            )
        return self._open_pass

    def _layer_pre_forward(self, module: nn.Module) -> None:
        layer = self._active_layer(module)
        if layer is None:
            return
        self._require_open_pass(layer)
        for parameter in layer.parameters.values():
            parameter.requires_grad_(False)
        self._frozen_for_forward.update(layer.parameters.values())

    def _restore_requires_grad(self, *parameters: nn.Parameter) -> None:
        """Switch ``requires_grad`` on again; for a layer that an error interrupted, at the next pass."""
        for parameter in parameters:
            parameter.requires_grad_(True)
        self._frozen_for_forward.difference_update(parameters)

    def _layer_post_forward(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> Any:
        layer = self._active_layer(module)
        if layer is None:
            return output
        self._restore_requires_grad(*layer.parameters.values())
        if output is None or self._open_pass is None or isinstance(layer.rule, CustomForwardRule):
            return output
        return self.hook_output(layer, args, kwargs, output)


def _fused_forward(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """The forward of a captured layer with a custom forward; copies of the layer run that of their class."""
    capture = _CAPTURE_OF_LAYER.get(module)
    return (
        capture.run_layer(module, args, kwargs) if capture else type(module).forward(module, *args, **kwargs)
    )


def _trainable(module: nn.Module) -> set[nn.Parameter]:
    return {parameter for parameter in module.parameters() if parameter.requires_grad}


def _check_forward_is_class_forward(layer: TrainableLayer) -> None:
    """Raise if a layer that needs a custom forward has its forward replaced by another one."""
    module = layer.module
    if (
        isinstance(layer.rule, CustomForwardRule)
        and "forward" in vars(module)
        and getattr(module.forward, "__func__", None) is not _fused_forward
    ):
        raise PrivacyError(
            f"layer {layer.name!r} has a forward of its own; expected that of its class, "
            f"{type(module).__name__}"
        )
