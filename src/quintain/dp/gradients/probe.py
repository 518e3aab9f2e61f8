r"""Probes of whether the examples of a batch mix, at the first training passes and some later ones: no proof.

- model: a backward pass from the outputs of half of the examples must bring gradients of these alone; halves differ from pass to pass;
- values: other rows in the batch must not change the outputs of an example (see ``trials``);
- loss: the gradient at one example's output must not depend on the others' outputs,
  :math:`\partial^2 L / \partial o_i\, \partial o_j = 0` for :math:`i \ne j`; and at every pass, no mean,
  scale or selection may be shared by examples (see ``losses``).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode
from torch.utils.hooks import RemovableHandle

from quintain.core.errors import PrivacyError
from quintain.dp.gradients.capture import Capture
from quintain.dp.gradients.forms import PerExample
from quintain.dp.gradients.losses import LossMode, LossRules
from quintain.dp.gradients.trials import FINE, STRANGE, RandomState, Trials, tensors
from quintain.dp.gradients.watched import SUMMED, Watcher, marked

WAITING = "not asked yet: no pass over two examples"


@dataclass(frozen=True, slots=True)
class Probed:
    """What the probes have found: "no dependence found" where they looked, "not ..." where they could not.

    Args:
        model: Whether the outputs of one example depend on another, by gradients.
        rows: Whether the module gets the rows as the loader yields them, at every pass, so that none is mixed before.
        values: Whether other rows change an example's outputs.
        lengths: Whether the padding of a batch changes an example's outputs.
        loss: Whether the loss is a sum of one term an example.
        remarks: What else of the loss could not be checked.
    """

    model: str = WAITING
    rows: str = WAITING
    values: str = WAITING
    lengths: str = "not checked: all batches had one length"
    loss: str = WAITING
    remarks: tuple[str, ...] = ()


class Probe:
    """Hooks on a module that probe its training passes; a mix that they find is a ``PrivacyError``.

    Passes that ``close`` names are probed in full, and so is each pass until model and values are known.
    Labels and scales of losses are looked at in every pass.

    Args:
        capture: The capture of the module to train.
        close: Whether the next pass is probed in full.
        mean: Whether losses are declared to be means over the batch (else sums).
        batch_dim: Which dimension of the outputs is the batch.
        handed: Gives the batch that the loader has yielded last.
    """

    def __init__(
        self, capture: Capture, *, close: Callable[[], bool], mean: bool, batch_dim: int = 0, handed: Callable[[], Any] = lambda: None
    ) -> None:
        self._found = Probed()
        self._capture, self._dim, self._look_closely, self._handed = capture, batch_dim, close, handed
        self._rules = LossRules(mean=mean)
        self._watcher = Watcher(self._told, capture.full)
        self._mode = LossMode(self._rules)
        # whether the mode is on; this pass is probed in full; the module computes losses inside; a probe of
        # the loss is running
        self._mode_on = self._close = self._inside = self._asking = False
        self._passes = 0  # training passes since the last step whose outputs were seen
        self._start: RandomState | None = None
        # outputs of each pass since the last step, with the halves it was probed in; of the latest pass, the losses
        # that the module computed
        self._outputs: list[tuple[list[Tensor], tuple[Tensor, Tensor]]] = []
        self._own: list[Tensor] = []
        self._shuffles = torch.Generator().manual_seed(0)
        self._halves = torch.arange(0), torch.arange(0)
        self._shapes: set[tuple[int, ...]] = set()
        self._pads: dict[int, Tensor] = {}
        root = capture.root

        def mine(module: nn.Module) -> bool:
            """Whether it is this module (a copy has the hooks too), and no compiler is tracing it."""
            return not torch.compiler.is_compiling() and module is root

        self._handles: tuple[RemovableHandle, ...] = (
            root.register_forward_pre_hook(lambda module, _args: self._open() if mine(module) else None),
            root.register_forward_hook(
                lambda module, args, kwargs, output: self._seen(args, kwargs, output) if mine(module) else None, with_kwargs=True
            ),
            root.register_forward_hook(lambda module, _args, _output: self._leave() if mine(module) else None, always_call=True),
        )
        capture.keep(*self._handles)

    @property
    def found(self) -> Probed:
        """What was found so far."""
        return replace(self._found, remarks=tuple(self._rules.remarks))

    def stepped(self) -> None:
        """Finish the probes of a step that is about to be made.

        Raises:
            PrivacyError: If the loss is not scaled as declared, or no pass since the last step was seen.
        """
        if self._handles and not self._passes:
            raise PrivacyError(
                "got passes of a compiled module, into which no probe looks; expected the module as make_private returned it, called by "
                "itself: leave out torch.compile and module.compile() (gradients of single examples are caught as layers are called)"
            )
        self._passes = 0
        self._outputs.clear()
        self._rules.stepped()
        if self._close and self._found.model != WAITING and self._found.loss == WAITING:
            self._note(loss="not asked: no backward() of a tensor made of the module's output was seen")

    def strange_rows(self) -> None:
        """Take note of a pass whose rows are not those of the batch as the loader has handed it out."""
        self._note(rows=STRANGE)

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
        self._handles = ()
        self._outputs.clear()

    @property
    def _on(self) -> bool:
        capture = self._capture
        return capture.root.training and torch.is_grad_enabled() and capture.enabled and capture.alive

    def _open(self) -> None:
        self._leave()
        if not self._on:
            return
        self._close = self._look_closely() or WAITING in (self._found.model, self._found.values)
        self._start = RandomState.now() if self._close else None
        if self._close or self._inside:
            self._rules.seen = False
            self._mode.__enter__()
            self._mode_on = True

    def _leave(self) -> None:
        """Take the mode off, also one that an interrupted pass has left."""
        if self._mode_on and _get_current_function_mode() is self._mode:
            self._mode.__exit__(None, None, None)
            self._inside = self._inside or self._rules.seen
        self._mode_on = False

    def _seen(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        self._leave()
        if not self._on:
            return None
        self._passes += 1
        outputs = [x for x in tensors(output) if x.requires_grad and x.is_floating_point() and x.dim() > self._dim]
        own = [x for x in tensors(output) if x.requires_grad and not x.dim()]
        sizes = {x.shape[self._dim] for x in outputs}
        size = sizes.pop() if len(sizes) == 1 else 0
        if size > 1 and self._close and self._start is not None:
            shuffled = torch.randperm(size, generator=self._shuffles)
            self._halves = shuffled[: size // 2].sort().values, shuffled[size // 2 :].sort().values
            try:
                self._note(model=self._ask_model(outputs))
            except (RuntimeError, MemoryError) as error:
                self._note(model=f"not asked: {(str(error) or type(error).__name__).splitlines()[0]}")
            self._try((args, kwargs), output, self._start, size)
        elif sizes or not outputs:
            blind = f"not asked: no output has the batch as dimension {self._dim}"
            self._note(model=blind, values=blind, loss=blind)
        self._rules.begin(size, close=self._close)
        self._own = list[Tensor]()
        output = _watched(output, own, self._own, self._watcher)
        into = list[Tensor]()
        watched = _watched(output, outputs, into, self._watcher)
        if self._close and size > 1:
            self._outputs.append((into, self._halves))
        return watched

    def _try(self, called: tuple[tuple[Any, ...], dict[str, Any]], output: Any, start: RandomState, size: int) -> None:
        """Run the module on other rows."""
        trials = Trials(self._capture, called, output, start, size=size, dim=self._dim, halves=self._halves)
        self._note(rows=trials.same_rows(self._handed()), values=trials.rows())
        if any(x.requires_grad and not x.dim() for x in tensors(output)):
            self._note(loss=trials.own_loss(type(self._capture.root).__name__))
        self._shapes.add(trials.given_lengths)
        lengths = trials.lengths(self._pads, vary=len(self._shapes) > 1)
        if lengths is not None:
            self._note(lengths=lengths)

    def _note(self, **answers: str) -> None:
        """Note answers, except where "no dependence found" was noted before, and other rows than the loader's, which stay noted."""
        for name, answer in answers.items():
            last = getattr(self._found, name)
            if answer == STRANGE or last not in (FINE, STRANGE):
                self._found = replace(self._found, **{name: answer})  # type: ignore[arg-type]

    def _ask_model(self, outputs: Sequence[Tensor]) -> str:
        """Whether a backward pass from the outputs of one half brings gradients of the other half."""
        names = {parameter: name for name, parameter in self._capture.root.named_parameters()}
        size = outputs[0].shape[self._dim]
        zero = set(names)
        for mine, theirs in (self._halves, self._halves[::-1]):
            found = self._capture.trial(_weighted([x.index_select(self._dim, mine.to(x.device)) for x in outputs]))
            if not found:
                return "not asked: no gradient reaches the module from its output"
            for parameter, gradient in found.items():
                examples = len(gradient.squared())
                if examples != size:
                    return f"not asked: {size} outputs for {examples} examples"
                if _any(_summed(gradient, parameter, theirs, size)):
                    raise PrivacyError(
                        f"the output of one example depends on another: a backward pass from it brings gradients of parameter "
                        f"{names[parameter]!r} for other examples too; expected a module that looks at each example by itself "
                        "(no batch statistics, no attention over the batch, no mean over dimension 0)"
                    )
                if _any(_summed(gradient, parameter, mine, size)):
                    zero.discard(parameter)
        silent = [name for parameter, name in names.items() if parameter in zero and parameter.requires_grad]
        return f"not checked: the gradient was zero, of {', '.join(silent)}" if silent else FINE

    def _told(self, func: Any, args: tuple[Any, ...], kwargs: Any, result: Any) -> str:
        """Something was done with the outputs of the latest passes; what the first dimension of the result is."""
        if func is not Tensor.backward:
            return self._rules.called(func, args, kwargs, result)
        if self._outputs and not self._asking and not any(args[0] is x for x in self._own):
            self._asking = True
            try:
                self._note(loss=self._ask_loss(args[0]))
            except RuntimeError as error:
                self._note(loss=f"not asked: {str(error).splitlines()[0]}")
            finally:
                self._asking = False
        return SUMMED

    def _ask_loss(self, loss: Tensor) -> str:
        """Whether the gradient at one half's outputs depends on the other half's, by second derivatives."""
        outputs = [x for each, _ in self._outputs for x in each]
        if loss.numel() != 1:
            return "not asked: the loss is not one number"
        slopes = torch.autograd.grad(loss.sum(), outputs, create_graph=True, allow_unused=True)
        if not any(slope is not None and bool((slope != 0).any()) for slope in slopes):
            return "not checked: the gradient was zero"
        if not any(slope is not None and slope.requires_grad for slope in slopes):
            return "nothing to see: the loss is linear in the outputs, or can be differentiated once only"
        # the pass of each output: of it, one half is probed against the other
        turns = [turn for turn, (each, _) in enumerate(self._outputs) for _ in each]
        for turn, (_, halves) in enumerate(self._outputs):
            for rows, others in (halves, halves[::-1]):
                mine = [slope for slope, at in zip(slopes, turns, strict=True) if at == turn and slope is not None and slope.requires_grad]
                if not mine:
                    continue
                own = _weighted([slope.index_select(self._dim, rows.to(slope.device)) for slope in mine])
                seconds: tuple[Tensor | None, ...] = torch.autograd.grad(own, outputs, retain_graph=True, allow_unused=True)
                for second, at in zip(seconds, turns, strict=True):
                    if second is not None and _any(second.index_select(self._dim, others.to(second.device)) if at == turn else second):
                        raise PrivacyError(
                            "the loss mixes the examples of a batch: the gradient at one example's output "
                            "depends on another's output; expected a mean or sum of one term an example (no "
                            "contrastive or ranking loss within the batch, no norm or logarithm of a batch's "
                            "sum)"
                        )
        return FINE


def _weighted(parts: Sequence[Tensor]) -> Tensor:
    """A scalar in which every entry has a weight of its own, so that no two cancel by symmetry."""
    flat = torch.cat([part.flatten() for part in parts])
    return torch.dot(flat, torch.linspace(1, 2, len(flat), dtype=flat.dtype, device=flat.device))


def _summed(gradient: PerExample, parameter: nn.Parameter, rows: Tensor, size: int) -> Tensor:
    """The gradients of some examples, with a weight for each; in a form, no rounding makes them zero or else."""
    weights = torch.zeros(size, dtype=torch.float64, device=parameter.device)
    weights[rows.to(weights.device)] = torch.linspace(1, 2, len(rows), dtype=torch.float64, device=weights.device)
    total = torch.zeros_like(parameter, requires_grad=False, memory_format=torch.contiguous_format)
    gradient.add_to(total, weights)
    return total


def _any(x: Tensor) -> bool:
    """Whether any entry is finite and not zero: NaN shows no dependence, since zero times infinity is NaN."""
    return bool(((x != 0) & x.isfinite()).any())


def _watched(output: Any, outputs: Sequence[Tensor], into: list[Tensor], watcher: Watcher) -> Any:
    """The same, with some of its tensors watched; of containers of kinds of their own, dicts and data classes are changed in place."""
    if isinstance(output, Tensor):
        if type(output) is not Tensor or not any(output is x for x in outputs):
            return output
        watched = output.view_as(output) if output.is_leaf else output
        into.append(marked(watched, watcher))
        return into[-1]
    if type(output) in (list, tuple):
        return type(output)(_watched(part, outputs, into, watcher) for part in output)
    if type(output) is dict:
        return {key: _watched(part, outputs, into, watcher) for key, part in output.items()}
    if isinstance(output, tuple) and hasattr(output, "_make"):
        return output._make(_watched(part, outputs, into, watcher) for part in output)
    if isinstance(output, dict):
        for key, part in list(output.items()):
            output[key] = _watched(part, outputs, into, watcher)
    elif is_dataclass(output) and not isinstance(output, type):
        for name in (part.name for part in fields(output)):
            object.__setattr__(output, name, _watched(getattr(output, name, None), outputs, into, watcher))
    return output
