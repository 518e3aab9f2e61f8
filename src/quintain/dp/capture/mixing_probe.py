r"""Probes of whether the examples of a batch mix, at the first training passes and some later ones; no proof.

- model: a backward pass from the outputs of half of the examples must bring gradients of these alone; halves
  differ from pass to pass;
- values: other rows in the batch must not change the outputs of an example (see ``module_reruns``);
- loss: the gradient at one example's output must not depend on the others' outputs,
  :math:`\partial^2 L / \partial o_i\, \partial o_j = 0` for :math:`i \ne j`; and at every pass, no mean,
  scale or selection may be shared by examples (see ``loss_rules``).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode
from torch.utils.hooks import RemovableHandle

from quintain.core.errors import PrivacyError
from quintain.dp.capture.hooks import Capture
from quintain.dp.capture.loss_rules import LossMode, LossRules
from quintain.dp.capture.module_reruns import (
    NO_DEPENDENCE,
    NOT_LOADERS_ROWS,
    GeneratorStates,
    ModuleReruns,
    iter_tensors,
)
from quintain.dp.capture.watched_tensor import REDUCED, WHOLE_BATCH, Watcher, mark_watched
from quintain.dp.per_example.grads import PerExampleGrads

NOT_PROBED_YET = "not probed yet: no pass over two examples"


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """The result of the probes: "no dependence found" where they looked, "not ..." where they could not.

    Args:
        model: Whether the outputs of one example depend on another, by gradients.
        rows: Whether the module gets the rows as the loader yields them, at every pass, so that none is mixed
            before.
        values: Whether other rows change an example's outputs.
        lengths: Whether the padding of a batch changes an example's outputs.
        loss: Whether the loss is a sum of one term an example.
        remarks: Other properties of the loss that could not be checked.
    """

    model: str = NOT_PROBED_YET
    rows: str = NOT_PROBED_YET
    values: str = NOT_PROBED_YET
    lengths: str = "not checked: all batches had one length"
    loss: str = NOT_PROBED_YET
    remarks: tuple[str, ...] = ()


class MixingProbe:
    """Hooks on a module that probe whether its examples mix; a mix that they find raises ``PrivacyError``.

    Passes that ``probe_fully`` names are probed in full, and so is each pass until model and values are
    known. Labels and scales of losses are looked at in every pass.

    Args:
        capture: The capture of the module to train.
        probe_fully: Whether the next pass is probed in full.
        mean: Whether losses are declared to be means over the batch (else sums).
        batch_dim: Which dimension of the outputs is the batch.
        last_batch: Returns the batch that the loader has yielded last.
        collation_doubt: Returns what speaks against the loader's collation; None if nothing does.
    """

    def __init__(
        self,
        capture: Capture,
        *,
        probe_fully: Callable[[], bool],
        mean: bool,
        batch_dim: int = 0,
        last_batch: Callable[[], Any] = lambda: None,
        collation_doubt: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._result = ProbeResult()
        self._capture, self._batch_dim, self._probe_fully, self._last_batch = (
            capture,
            batch_dim,
            probe_fully,
            last_batch,
        )
        self._collation_doubt = collation_doubt
        self._rules = LossRules(mean=mean)
        self._watcher = Watcher(self._on_tensor_call, capture.full_precision)
        self._mode = LossMode(self._rules)
        # whether the mode is on; this pass is probed in full; the module computes losses inside; a probe of
        # the loss is running
        self._mode_on = self._full = self._module_computes_loss = self._probing_loss = False
        self._passes = 0  # training passes since the last step whose outputs were seen
        self._rng_before: GeneratorStates | None = None
        # outputs of each pass since the last step, with the halves it was probed in; of the latest pass, the
        # losses that the module computed
        self._outputs: list[tuple[list[Tensor], tuple[Tensor, Tensor]]] = []
        self._own_losses: list[Tensor] = []
        self._shuffles = torch.Generator().manual_seed(0)
        self._halves = torch.arange(0), torch.arange(0)
        self._shapes: set[tuple[int, ...]] = set()
        self._pads: dict[int, Tensor] = {}
        root = capture.root

        def mine(module: nn.Module) -> bool:
            """Whether it is this module (a copy has the hooks too), and no compiler is tracing it."""
            return not torch.compiler.is_compiling() and module is root

        self._handles: tuple[RemovableHandle, ...] = (
            root.register_forward_pre_hook(
                lambda module, _args: self._on_forward_begin() if mine(module) else None
            ),
            root.register_forward_hook(
                lambda module, args, kwargs, output: (
                    self._on_forward(args, kwargs, output) if mine(module) else None
                ),
                with_kwargs=True,
            ),
            root.register_forward_hook(
                lambda module, _args, _output: self._exit_mode() if mine(module) else None, always_call=True
            ),
        )
        capture.add_handles(*self._handles)

    @property
    def result(self) -> ProbeResult:
        """The result so far."""
        return replace(self._result, remarks=tuple(self._rules.remarks))

    def on_step(self) -> None:
        """Finish the probes of a step that is about to be made.

        Raises:
            PrivacyError: If the loss is not scaled as declared, or no pass since the last step was seen.
        """
        if self._handles and not self._passes:
            raise PrivacyError(
                "got passes of a compiled module, into which no probe looks; expected the module as "
                "make_private returned it, called by itself: leave out torch.compile and module.compile() "
                "(gradients of single examples are captured as layers are called)"
            )
        self._passes = 0
        self._outputs.clear()
        self._rules.on_step()
        if self._full and self._result.model != NOT_PROBED_YET and self._result.loss == NOT_PROBED_YET:
            self._record(loss="not probed: no backward() of a tensor made of the module's output was seen")

    def strange_rows(self) -> None:
        """Record that a pass had other rows than the batch as the loader yielded it."""
        self._record(rows=NOT_LOADERS_ROWS)

    def remove(self) -> None:
        """Detach the hooks."""
        for handle in self._handles:
            handle.remove()
        self._handles = ()
        self._outputs.clear()

    @property
    def _is_active(self) -> bool:
        capture = self._capture
        return capture.root.training and torch.is_grad_enabled() and capture.enabled and capture.is_attached

    def _on_forward_begin(self) -> None:
        self._exit_mode()
        if not self._is_active:
            return
        self._full = self._probe_fully() or NOT_PROBED_YET in (self._result.model, self._result.values)
        self._rng_before = GeneratorStates.now() if self._full else None
        if self._full or self._module_computes_loss:
            self._rules.saw_loss = False
            self._mode.__enter__()
            self._mode_on = True

    def _exit_mode(self) -> None:
        """Leave the function mode, also after an interrupted pass."""
        if self._mode_on and _get_current_function_mode() is self._mode:
            self._mode.__exit__(None, None, None)
            self._module_computes_loss = self._module_computes_loss or self._rules.saw_loss
        self._mode_on = False

    def _on_forward(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        self._exit_mode()
        if not self._is_active:
            return None
        self._passes += 1
        outputs = [
            x
            for x in iter_tensors(output)
            if x.requires_grad and x.is_floating_point() and x.dim() > self._batch_dim
        ]
        own = [x for x in iter_tensors(output) if x.requires_grad and not x.dim()]
        sizes = {x.shape[self._batch_dim] for x in outputs}
        size = sizes.pop() if len(sizes) == 1 else 0
        if size > 1 and self._full and self._rng_before is not None:
            shuffled = torch.randperm(size, generator=self._shuffles)
            self._halves = shuffled[: size // 2].sort().values, shuffled[size // 2 :].sort().values
            try:
                self._record(model=self._probe_model(outputs))
            except (RuntimeError, MemoryError) as error:
                self._record(model=f"not probed: {(str(error) or type(error).__name__).splitlines()[0]}")
            self._check_reruns((args, kwargs), output, self._rng_before, size)
        elif sizes or not outputs:
            blind = f"not probed: no output has the batch as dimension {self._batch_dim}"
            self._record(model=blind, values=blind, loss=blind)
        self._rules.begin_pass(size, fully=self._full)
        self._own_losses = list[Tensor]()
        output = _wrap_outputs(output, own, self._own_losses, self._watcher)
        watched_list = list[Tensor]()
        watched = _wrap_outputs(output, outputs, watched_list, self._watcher)
        if self._full and size > 1:
            self._outputs.append((watched_list, self._halves))
        return watched

    def _check_reruns(
        self, called: tuple[tuple[Any, ...], dict[str, Any]], output: Any, start: GeneratorStates, size: int
    ) -> None:
        """Check outputs and losses by running the module again on other rows."""
        reruns = ModuleReruns(
            self._capture,
            called,
            output,
            start,
            batch_size=size,
            batch_dim=self._batch_dim,
            halves=self._halves,
        )
        rows = reruns.check_rows_are_the_loaders(self._last_batch())
        if rows == NO_DEPENDENCE:
            rows = self._collation_doubt() or NO_DEPENDENCE
        self._record(rows=rows, values=reruns.check_replaced_rows())
        if any(x.requires_grad and not x.dim() for x in iter_tensors(output)):
            self._record(loss=reruns.check_own_loss(type(self._capture.root).__name__))
        self._shapes.add(reruns.input_lengths)
        lengths = reruns.check_padding(self._pads, vary=len(self._shapes) > 1)
        if lengths is not None:
            self._record(lengths=lengths)

    def _record(self, **answers: str) -> None:
        """Record answers, except over "no dependence found", and over rows that are not the loader's."""
        for name, answer in answers.items():
            last = getattr(self._result, name)
            if answer == NOT_LOADERS_ROWS or last not in (NO_DEPENDENCE, NOT_LOADERS_ROWS):
                self._result = replace(self._result, **{name: answer})  # type: ignore[arg-type]

    def _probe_model(self, outputs: Sequence[Tensor]) -> str:
        """Whether a backward pass from the outputs of one half brings gradients of the other half."""
        names = {parameter: name for name, parameter in self._capture.root.named_parameters()}
        size = outputs[0].shape[self._batch_dim]
        zero = set(names)
        for mine, theirs in (self._halves, self._halves[::-1]):
            # a backward pass from the outputs of one half must give no gradient to the other half
            grads = self._capture.dry_run(
                _weighted([x.index_select(self._batch_dim, mine.to(x.device)) for x in outputs])
            )
            if not grads:
                return "not probed: no gradient reaches the module from its output"
            for parameter, gradient in grads.items():
                examples = len(gradient.squared_norms())
                if examples != size:
                    return f"not probed: {size} outputs for {examples} examples"
                if _any_finite_nonzero(_weighted_grad_sum(gradient, parameter, theirs, size)):
                    raise PrivacyError(
                        "the output of one example depends on another: a backward pass from it brings "
                        f"gradients of parameter {names[parameter]!r} for other examples too; expected a "
                        "module that looks at each example by itself (no batch statistics, no attention "
                        "over the batch, no mean over dimension 0)"
                    )
                if _any_finite_nonzero(_weighted_grad_sum(gradient, parameter, mine, size)):
                    zero.discard(parameter)
        silent = [name for parameter, name in names.items() if parameter in zero and parameter.requires_grad]
        return f"not checked: the gradient was zero, of {', '.join(silent)}" if silent else NO_DEPENDENCE

    def _on_tensor_call(self, func: Any, args: tuple[Any, ...], kwargs: Any, result: Any) -> str:
        """A function was called on the outputs of recent passes; returns what its result's first dimension
        is.
        """
        if func is not Tensor.backward:
            return self._rules.on_call(func, args, kwargs, result)
        if self._outputs and not self._probing_loss and not any(args[0] is x for x in self._own_losses):
            self._probing_loss = True
            self._note_outside_parameters(args[0])
            try:
                self._record(loss=self._probe_loss(args[0]))
            except RuntimeError as error:
                self._record(loss=f"not probed: {str(error).splitlines()[0]}")
            finally:
                self._probing_loss = False
        return REDUCED

    def _note_outside_parameters(self, loss: Tensor) -> None:
        """Note the trainable parameters of other modules that a loss depends on; no noise covers those."""
        for parameter in _leaf_parameters(loss):
            self._rules.remarks[
                f"not covered: a trainable parameter of shape {tuple(parameter.shape)} outside the module, "
                "in front of it or behind it, which the loss depends on; trained on these records it has no "
                "noise, and steers the module's gradients: make one module of both, or freeze it"
            ] = None

    def _probe_loss(self, loss: Tensor) -> str:
        """Whether the gradient at one half's outputs depends on the other half's, by second derivatives."""
        outputs = [x for each, _ in self._outputs for x in each]
        if loss.numel() != 1:
            return "not probed: the loss is not one number"
        slopes = torch.autograd.grad(loss.sum(), outputs, create_graph=True, allow_unused=True)
        if not any(slope is not None and bool((slope != 0).any()) for slope in slopes):
            return "not checked: the gradient was zero"
        if not any(slope is not None and slope.requires_grad for slope in slopes):
            return "nothing to see: the loss is linear in the outputs, or can be differentiated once only"
        # d/d o_j of dL/d o_i must vanish for j != i; distinct weights keep terms from cancelling. Within a
        # pass one half is probed against the other, and each pass against all others
        pass_indices = [pass_index for pass_index, (each, _) in enumerate(self._outputs) for _ in each]
        for pass_index, (_, halves) in enumerate(self._outputs):
            for rows, others in (halves, halves[::-1]):
                mine = [
                    slope
                    for slope, at in zip(slopes, pass_indices, strict=True)
                    if at == pass_index and slope is not None and slope.requires_grad
                ]
                if not mine:
                    continue
                own = _weighted(
                    [slope.index_select(self._batch_dim, rows.to(slope.device)) for slope in mine]
                )
                seconds: tuple[Tensor | None, ...] = torch.autograd.grad(
                    own, outputs, retain_graph=True, allow_unused=True
                )
                for second, at in zip(seconds, pass_indices, strict=True):
                    if second is not None and _any_finite_nonzero(
                        second.index_select(self._batch_dim, others.to(second.device))
                        if at == pass_index
                        else second
                    ):
                        raise PrivacyError(
                            "the loss mixes the examples of a batch: the gradient at one example's output "
                            "depends on another's output; expected a mean or sum of one term an example (no "
                            "contrastive or ranking loss within the batch, no norm or logarithm of a batch's "
                            "sum)"
                        )
        return NO_DEPENDENCE


def _leaf_parameters(loss: Tensor) -> list[nn.Parameter]:
    """The parameters that a backward pass would reach; those under capture are not in the graph."""
    found, seen, nodes = [], set(), [loss.grad_fn]
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)
        if isinstance(variable, nn.Parameter):
            found.append(variable)
        nodes += [following for following, _ in node.next_functions]
    return found


def _weighted(parts: Sequence[Tensor]) -> Tensor:
    """A weighted sum of all entries with distinct weights, so that no two cancel by symmetry."""
    flat = torch.cat([part.flatten() for part in parts])
    return torch.dot(flat, torch.linspace(1, 2, len(flat), dtype=flat.dtype, device=flat.device))


def _weighted_grad_sum(gradient: PerExampleGrads, parameter: nn.Parameter, rows: Tensor, size: int) -> Tensor:
    """The weighted sum of the gradients of some examples, formed as the clipped sum is.

    Weights between 1 and 2, one for each example, keep the gradients of two examples from cancelling; where
    no example has a gradient, the sum is exactly zero.
    """
    weights = torch.zeros(size, dtype=torch.float64, device=parameter.device)
    weights[rows.to(weights.device)] = torch.linspace(
        1, 2, len(rows), dtype=torch.float64, device=weights.device
    )
    total = torch.zeros_like(parameter, requires_grad=False, memory_format=torch.contiguous_format)
    gradient.add_weighted_sum_to(total, weights)
    return total


def _any_finite_nonzero(x: Tensor) -> bool:
    """Whether any entry is finite and not zero: NaN shows no dependence, since zero times infinity is NaN."""
    return bool(((x != 0) & x.isfinite()).any())


def _wrap_outputs(
    output: Any, outputs: Sequence[Tensor], watched_list: list[Tensor], watcher: Watcher
) -> Any:
    """The output with some of its tensors watched; dicts of other types and data classes change in place."""
    if isinstance(output, Tensor):
        if type(output) is not Tensor or not any(output is x for x in outputs):
            return output
        watched = output.view_as(output) if output.is_leaf else output
        watched_list.append(mark_watched(watched, watcher, WHOLE_BATCH if watched.dim() else REDUCED))
        return watched_list[-1]
    if type(output) in (list, tuple):
        return type(output)(_wrap_outputs(part, outputs, watched_list, watcher) for part in output)
    if type(output) is dict:
        return {key: _wrap_outputs(part, outputs, watched_list, watcher) for key, part in output.items()}
    if isinstance(output, tuple) and hasattr(output, "_make"):
        return output._make(_wrap_outputs(part, outputs, watched_list, watcher) for part in output)
    if isinstance(output, dict):
        for key, part in list(output.items()):
            output[key] = _wrap_outputs(part, outputs, watched_list, watcher)
    elif is_dataclass(output) and not isinstance(output, type):
        for name in (part.name for part in fields(output)):
            object.__setattr__(
                output, name, _wrap_outputs(getattr(output, name, None), outputs, watched_list, watcher)
            )
    return output
