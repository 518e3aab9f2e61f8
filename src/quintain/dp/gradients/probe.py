r"""Whether examples mix, asked at the first training pass over two or more of them: a probe, which finds much, and no proof.

- model: a backward pass from the outputs of one example must bring gradients of that example alone;
- loss: the gradient at one example's output must not depend on the others' outputs,
  :math:`\partial^2 L / \partial o_i\, \partial o_j = 0` for :math:`i \ne j`; nor may a mean be over the labels that count.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quintain.core.errors import PrivacyError
from quintain.dp.gradients.capture import Capture
from quintain.dp.gradients.forms import PerExample

WAITING = "not asked yet: no pass over two examples"


@dataclass(frozen=True, slots=True)
class Probed:
    """What was found so far.

    Args:
        model: Whether outputs of one example depend on another.
        loss: Whether the loss is a sum of one term an example.
    """

    model: str = WAITING
    loss: str = WAITING


class Probe:
    """Asks until the first step on two or more examples, and then leaves the module alone; what is refused stays refused.

    Args:
        capture: Of the module to train.
        batch_dim: Which dimension of the outputs is the batch.
    """

    def __init__(self, capture: Capture, *, batch_dim: int = 0) -> None:
        self.found = Probed()
        self._capture, self._dim = capture, batch_dim
        root = capture.root
        self._handle = root.register_forward_hook(lambda module, _args, output: self._seen(output) if module is root else None)
        capture.keep(self._handle)
        self._outputs: list[Tensor] = []

    def stepped(self) -> None:
        """Leave it at what was asked before the first step."""
        if self.found.model != WAITING:
            if self.found.loss == WAITING:
                self.found = Probed(self.found.model, "not asked: no backward() of a tensor made of the module's output was seen")
            self.remove()

    def remove(self) -> None:
        """Ask no more."""
        self._handle.remove()
        self._outputs.clear()
        _ASKING.discard(self)

    def _seen(self, output: Any) -> Any:
        if not (self._capture.root.training and torch.is_grad_enabled() and self._capture.enabled and self._capture.alive):
            return None
        outputs = [x for x in _tensors(output) if x.requires_grad and x.is_floating_point() and x.dim() > self._dim]
        sizes = {x.shape[self._dim] for x in outputs}
        if sizes in ({0}, {1}):
            return None
        if len(sizes) != 1:
            self.found = Probed(*2 * (f"not asked: no output has the batch as dimension {self._dim}",))
            self.remove()
            return None
        if self.found.model == WAITING:
            self.found = Probed(self._ask_model(outputs))
        self._outputs = []
        watched = _watched(output, outputs, self._outputs)
        _ASKING.add(self)
        return watched

    def _ask_model(self, outputs: Sequence[Tensor]) -> str:
        names = {parameter: name for name, parameter in self._capture.root.named_parameters()}
        size = outputs[0].shape[self._dim]
        for example in (0, size - 1):
            found = self._capture.trial(_weighted([x.select(self._dim, example) for x in outputs]))
            if not found:
                return "not asked: no gradient reaches the module from its output"
            for parameter, gradient in found.items():
                examples = len(gradient.squared())
                if examples != size:
                    return f"not asked: {size} outputs for {examples} examples"
                if _any(_others(gradient, parameter, example, size)):
                    raise PrivacyError(
                        f"the output of one example depends on another: a backward pass from it brings gradients of parameter "
                        f"{names[parameter]!r} for other examples too; expected a module that looks at each example by itself "
                        "(no batch statistics, no attention over the batch, no mean over dimension 0)"
                    )
        return "no dependence found between examples"

    def ask_loss(self, loss: Tensor) -> None:
        """Look at what is about to be differentiated."""
        try:
            self.found = Probed(self.found.model, self._ask_loss(loss))
        except RuntimeError as error:
            self.found = Probed(self.found.model, f"not asked: {str(error).splitlines()[0]}")
        self.remove()

    def _ask_loss(self, loss: Tensor) -> str:
        outputs = self._outputs
        if loss.numel() != 1:
            return "not asked: the loss is not one number"
        slopes = torch.autograd.grad(loss.sum(), outputs, create_graph=True, allow_unused=True)
        if not any(slope is not None and slope.requires_grad for slope in slopes):
            return "nothing to see: the loss is linear in the outputs, or can be differentiated once only"
        size = outputs[0].shape[self._dim]
        for example in (0, size - 1):
            own = [slope.select(self._dim, example) for slope in slopes if slope is not None and slope.requires_grad]
            if not own:
                continue
            seconds: tuple[Tensor | None, ...] = torch.autograd.grad(_weighted(own), outputs, retain_graph=True, allow_unused=True)
            for second in seconds:
                if second is None:
                    continue
                others = second.transpose(0, self._dim)[torch.arange(size, device=second.device) != example]
                if _any(others):
                    raise PrivacyError(
                        "the loss mixes the examples of a batch: the gradient at one example's output depends on another's output; "
                        "expected a mean or sum of one term an example (no contrastive or ranking loss within the batch, no norm or "
                        "logarithm of a batch's sum)"
                    )
        return "no dependence found between examples"


_ASKING: "WeakSet[Probe]" = WeakSet()
"""Probes that wait for their loss."""


class Watched(Tensor):
    """Outputs of the pass that is probed, and what is made of them: ``backward()`` is seen."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if _ASKING and func is Tensor.backward:
            with torch._C.DisableTorchFunctionSubclass():
                for probe in tuple(_ASKING):
                    probe.ask_loss(args[0])
        elif _ASKING and func in (F.cross_entropy, F.nll_loss):
            _refuse_shared_mean(func.__name__, *args, **kwargs)
        return super().__torch_function__(func, types, args, kwargs)


def _refuse_shared_mean(
    name: str,
    output: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *_: Any,
    ignore_index: int = -100,
    reduction: str = "mean",
    **__: Any,
) -> None:
    """A mean over the weights of the batch's labels, or over the labels that are not to be ignored, differs with every record."""
    ignored = not target.is_floating_point() and bool((target == ignore_index).any())
    if reduction == "mean" and output.dim() > 1 and (weight is not None or ignored):
        raise PrivacyError(
            f"{name} takes a mean that divides by {'the weights of' if weight is not None else 'how many labels count in'} the whole "
            'batch: one record then changes the scale of all others; expected reduction="none", the mean within each example, and a mean '
            "over these"
        )


def _weighted(parts: Sequence[Tensor]) -> Tensor:
    """One number that depends on every entry, each with a weight of its own."""
    flat = torch.cat([part.flatten() for part in parts])
    return torch.dot(flat, torch.linspace(1, 2, len(flat), dtype=flat.dtype, device=flat.device))


def _others(gradient: PerExample, parameter: nn.Parameter, example: int, size: int) -> Tensor:
    """The gradients of all examples but one, added up with a weight for each; in a form, no rounding makes them zero or anything else."""
    weights = torch.linspace(1, 2, size, dtype=torch.float64, device=parameter.device)
    weights[example] = 0
    total = torch.zeros_like(parameter, requires_grad=False, memory_format=torch.contiguous_format)
    gradient.add_to(total, weights)
    return total


def _any(x: Tensor) -> bool:
    """Whether something is there: what is NaN tells nothing, since zero times infinity is."""
    return bool(((x != 0) & x.isfinite()).any())


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, (list, tuple)):
        for part in output:
            yield from _tensors(part)
    elif isinstance(output, dict):
        for part in output.values():
            yield from _tensors(part)


def _watched(output: Any, outputs: Sequence[Tensor], into: list[Tensor]) -> Any:
    """The same, with some of its tensors watched; a container of a kind of its own stays as it is."""
    if isinstance(output, Tensor):
        if type(output) is not Tensor or not any(output is x for x in outputs):
            return output
        into.append(output.as_subclass(Watched))
        return into[-1]
    if type(output) in (list, tuple):
        return type(output)(_watched(part, outputs, into) for part in output)
    if type(output) is dict:
        return {key: _watched(part, outputs, into) for key, part in output.items()}
    return output
