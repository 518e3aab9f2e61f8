"""What goes into and comes back to each trainable layer, caught in training mode with gradients on; the layers stay the user's own."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.utils.hooks import RemovableHandle

from quintain.core.errors import PrivacyError
from quintain.dp.rules import RULES, Calls, Rule

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
COARSEST = 1e-6
"""The largest rounding unit of gradients that are clipped."""

INSTEAD: Mapping[type[nn.Module], str] = {
    **dict.fromkeys(BATCH_NORMS, "BatchNorm mixes the examples of a batch: use GroupNorm (or freeze it and keep it in evaluation mode)"),
    **dict.fromkeys(INSTANCE_NORMS, "use GroupNorm with as many groups as channels"),
    nn.Conv1d: "use Conv2d with a kernel of height 1",
    nn.MultiheadAttention: "build it of Linear layers, or freeze it",
    **dict.fromkeys((nn.LSTM, nn.GRU, nn.RNN), "freeze it, or use Linear layers"),
}


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer with parameters to train: its name in the module, its rule, and the names of these parameters."""

    name: str
    module: nn.Module
    rule: Rule
    trainable: frozenset[str]

    def parameter(self, name: str) -> nn.Parameter:
        """One of its parameters."""
        return cast(nn.Parameter, getattr(self.module, name))


@dataclass(slots=True, eq=False)
class Pass:
    """One forward pass of the whole module, with what its backward pass has brought so far."""

    draw: int
    calls: dict[Layer, Calls] = field(default_factory=dict)
    batch: int | None = None
    taken: bool = False

    def add(self, layer: Layer, a: Tensor, g: Tensor) -> None:
        """Take note of one use of ``layer``.

        Raises:
            PrivacyError: If its first dimension is not the batch, its gradients are rounded too coarsely, or the pass was handed over.
        """
        if self.taken:
            raise PrivacyError(
                "backward() through a forward pass whose gradients were already clipped or dropped; expected all of its backward passes "
                "before the module's next forward pass, step() or zero_grad()"
            )
        if torch.finfo(g.dtype).eps > COARSEST:
            raise PrivacyError(
                f"layer {layer.name!r} got gradients in {g.dtype}, in which sums of clipped gradients are not exact enough for the bound; "
                "expected float32 or float64: no half precision, no autocast"
            )
        sizes = {len(a) if a.dim() else 0, len(g), len(g) if self.batch is None else self.batch}
        if len(sizes) > 1:
            raise PrivacyError(
                f"layer {layer.name!r} got an input of shape {tuple(a.shape)} in a pass over {self.batch} examples; "
                "expected the batch as first dimension of every trainable layer's input"
            )
        self.batch = len(g)
        self.calls.setdefault(layer, []).append((a, g))

    def pieces(self, size: int) -> "Iterator[Pass]":
        """The same pass, ``size`` examples at a time; one piece if it is empty."""
        for start in range(0, max(self.batch or 0, 1), size):
            calls = {layer: [(a[start : start + size], g[start : start + size]) for a, g in calls] for layer, calls in self.calls.items()}
            yield Pass(self.draw, calls, len(next(iter(calls.values()))[0][1]))


@dataclass(frozen=True, slots=True, eq=False)
class _Use:
    capture: "Capture"
    layer: Layer
    turn: Pass
    output: Tensor


class _Caught(torch.autograd.Function):
    """The layer's output, whose backward pass notes the gradient and works out no plain gradient of the weights."""

    @staticmethod
    def forward(ctx: FunctionCtx, use: _Use, a: Tensor, *_weights: Tensor) -> Tensor:
        ctx.use = use  # type: ignore[attr-defined]
        ctx.save_for_backward(a)
        return use.output.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        use, (a,) = ctx.use, ctx.saved_tensors
        use.capture.note(use, a.detach(), g)
        into = torch.autograd.grad(use.output, a, g, retain_graph=True)[0] if ctx.needs_input_grad[1] else None
        return (None, into, *(None for _ in use.layer.trainable))


class Capture:
    """Hooks on a module that catch, in each training pass, what per-example gradients are made of.

    Evaluation passes, passes without gradients, and copies of the module are left alone.

    Args:
        module: The module to train.
        drawn: Number of the current batch.
        finished: Called with a pass that is complete because the next one begins.
        rules: Rules for more kinds of layer, or other rules.

    Raises:
        PrivacyError: If a trainable parameter is in a layer without a rule or in two layers, or a layer mixes examples.
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
        self._mixing = [(name, child) for name, child in module.named_modules() if isinstance(child, BATCH_NORMS + INSTANCE_NORMS)]
        self._pending: list[Pass] = []
        self._turn: Pass | None = None
        self._root = module
        self._trainable = _trainable(module)
        _refuse_mixing(self._mixing)
        self._handles = list(self._hooks())

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

    def _hooks(self) -> Iterator[RemovableHandle]:
        """Plain functions, which a deep copy of the module shares: they know that it is another module, and leave it alone."""
        root, layers = self._root, self.layers
        yield root.register_forward_pre_hook(lambda module, _args: self._open(module), prepend=True)
        for layer in layers:
            yield layer.module.register_forward_hook(
                lambda module, args, kwargs, output: self._after_layer(module, args, kwargs, output),  # noqa: PLW0108
                with_kwargs=True,
            )
        yield root.register_forward_hook(lambda module, _args, _output: self._close(module), always_call=True)

    def note(self, use: _Use, a: Tensor, g: Tensor) -> None:
        """One use of a layer, as seen by the backward pass."""
        if not any(use.turn is known for known in self._pending):
            self._pending.append(use.turn)
        use.turn.add(use.layer, a, g)

    def _open(self, module: nn.Module) -> None:
        if module is not self._root or not module.training or not torch.is_grad_enabled():
            return
        _refuse_mixing(self._mixing)
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

    def _after_layer(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> Tensor:
        layer = self._of.get(module)
        if layer is None or not self._root.training or not torch.is_grad_enabled():
            return output
        if self._turn is None:
            raise PrivacyError(
                f"layer {layer.name!r} was used in training outside the module's own forward; expected every use inside it: "
                "call the module itself, without activation checkpointing, and keep other uses under torch.no_grad()"
            )
        if isinstance(output.grad_fn, _Caught._backward_cls):
            raise PrivacyError(
                f"layer {layer.name!r} belongs to two private optimisers; expected one: end the earlier by its optimizer.capture.remove()"
            )
        a = cast(Tensor, args[0] if args else next(iter(kwargs.values())))
        weights = [layer.parameter(name) for name in layer.trainable]
        return cast(Tensor, _Caught.apply(_Use(self, layer, self._turn, output), a, *weights))


def _layers(module: nn.Module, rules: Mapping[type[nn.Module], Rule]) -> tuple[Layer, ...]:
    layers: list[Layer] = []
    owners: dict[nn.Parameter, str] = {}
    for name, child in module.named_modules():
        own = {key: parameter for key, parameter in child.named_parameters(recurse=False) if parameter.requires_grad}
        if not own:
            continue
        label = name or type(child).__name__
        if type(child) not in rules:
            raise PrivacyError(f"layer {label!r} is a {type(child).__name__}, whose per-example gradients are not known; {_instead(child)}")
        for key, parameter in own.items():
            if parameter in owners:
                raise PrivacyError(
                    f"layers {owners[parameter]!r} and {label!r} share {key!r}; expected each parameter in one layer: untie them"
                )
            owners[parameter] = label
        layers.append(Layer(label, child, rules[type(child)], frozenset(own)))
    if not layers:
        raise PrivacyError("the module has no trainable parameter; expected at least one with requires_grad=True")
    return tuple(layers)


def _trainable(module: nn.Module) -> set[nn.Parameter]:
    return {parameter for parameter in module.parameters() if parameter.requires_grad}


def _instead(layer: nn.Module) -> str:
    known = ", ".join(kind.__name__ for kind in RULES)
    return next(
        (text for kind, text in INSTEAD.items() if isinstance(layer, kind)), f"use {known}, freeze it, or give the engine a rule for it"
    )


def _refuse_mixing(layers: Sequence[tuple[str, nn.Module]]) -> None:
    """Batch statistics, or running ones that are written without noise, whether or not the layer has weights."""
    for name, layer in layers:
        statistics = getattr(layer, "running_mean", None) is not None
        batch_norm = isinstance(layer, BATCH_NORMS)
        if (layer.training and (batch_norm or statistics)) or (batch_norm and not statistics):
            raise PrivacyError(
                f"layer {name or type(layer).__name__!r} is a {type(layer).__name__} that "
                f"{'mixes the examples of a batch' if batch_norm else 'writes running statistics without noise'}; use GroupNorm, "
                "or freeze it (requires_grad=False) and keep it in evaluation mode, also after module.train()"
            )
