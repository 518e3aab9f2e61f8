r"""Probes of whether the examples of a batch mix, in the first training passes and some later ones.

- model: a backward pass from the outputs of half of the examples must give gradients of these alone; halves
  differ from pass to pass;
- values: other rows in the batch must not change the outputs of an example (see ``module_reruns``);
- loss: the gradient at one example's output must not depend on the others' outputs,
  :math:`\partial^2 L / \partial o_i\, \partial o_j = 0` for :math:`i \ne j`; and in every pass, no mean,
  scale or selection may be shared by examples (see ``loss_rules``).

A probe that finds nothing is no proof.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode
from torch.utils.hooks import RemovableHandle

from quintain.core.errors import PrivacyError
from quintain.dp.capture.batch_dim import batch_dim_of
from quintain.dp.capture.gradient_probes import Halves, leaf_parameters, probe_loss, probe_model
from quintain.dp.capture.hooks import Capture
from quintain.dp.capture.inputs_before import InputsBefore
from quintain.dp.capture.loss_rules import LossMode, LossRules
from quintain.dp.capture.module_reruns import NO_DEPENDENCE, NOT_LOADERS_ROWS, ModuleReruns
from quintain.dp.capture.output_tensors import iter_tensors
from quintain.dp.capture.padding_check import check_padding, input_lengths
from quintain.dp.capture.watched_outputs import watch_outputs
from quintain.dp.capture.watched_tensor import REDUCED, Watcher
from quintain.dp.randomness.generator_states import GeneratorStates

NOT_PROBED_YET = "not probed yet: no pass over two examples"


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What each probe found: "no dependence found ...", or "not ..." where it could not look.

    Args:
        model: Whether the outputs of one example depend on another, by gradients.
        rows: Whether the module gets the rows as the loader yields them, in every pass, so that nothing mixes
            them before.
        values: Whether other rows change an example's outputs.
        lengths: Whether the padding of a batch changes an example's outputs.
        loss: Whether the loss is a sum with one term for each example.
        remarks: Other properties of the loss that could not be checked.
    """

    model: str = NOT_PROBED_YET
    rows: str = NOT_PROBED_YET
    values: str = NOT_PROBED_YET
    lengths: str = "not checked: all batches had one length"
    loss: str = NOT_PROBED_YET
    remarks: tuple[str, ...] = ()


class MixingProbe:
    """Hooks on a module that probe whether its examples mix, and raise ``PrivacyError`` if they do.

    A pass is probed in full if ``probe_fully`` says so, or if model or values have not been probed yet.
    Labels and scales of losses are checked in every pass.

    Args:
        capture: The capture of the module to train.
        probe_fully: Returns whether the next pass is probed in full.
        mean: Whether losses are declared to be means over the batch (else sums).
        batch_dim: Which dimension of the outputs is the batch.
        last_batch: Returns the batch that the loader yielded last.
        collation_doubt: Returns why the loader's collation may mix records; None if nothing says so.
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
        self._capture, self._batch_dim, self._probe_fully = capture, batch_dim, probe_fully
        self._last_batch, self._collation_doubt = last_batch, collation_doubt
        self._rules = LossRules(mean=mean)
        self._watcher = Watcher(self._on_tensor_call, capture.full_precision)
        self._mode = LossMode(self._rules)
        self._mode_on = False
        """Whether the function mode that watches losses is on."""
        self._full = False
        """Whether the present pass is probed in full."""
        self._module_computes_loss = False
        """Whether a pass was seen to call loss functions inside the module."""
        self._probing_loss = False
        """Whether a probe of the loss is running, whose own backward passes are not probed."""
        self._passes = 0
        """Training passes since the last step whose outputs were seen."""
        self._rng_before: GeneratorStates | None = None
        """The random generators before the present pass, if it is probed in full."""
        self._inputs_before = InputsBefore(())
        """The arguments of the present pass before it, if it is probed in full."""
        self._outputs: list[tuple[list[Tensor], Halves]] = []
        """Watched outputs of each fully probed pass since the last step, with the two halves of its rows."""
        self._module_losses: list[Tensor] = []
        """Scalar outputs of the latest pass: losses that the module computed."""
        self._halving_generator = torch.Generator().manual_seed(0)
        self._halves = torch.arange(0), torch.arange(0)
        """The rows of the latest fully probed pass, in two random halves."""
        self._lengths: set[tuple[int, ...]] = set()
        """The lengths of inputs that were seen so far."""
        self._paddings: dict[int, Tensor] = {}
        """The padding that was seen so far, by index of the input."""
        root = capture.root

        def is_root(module: nn.Module) -> bool:
            """Return whether it is this module (a copy has the hooks too), and no compiler is tracing it."""
            return not torch.compiler.is_compiling() and module is root

        self._handles: tuple[RemovableHandle, ...] = (
            root.register_forward_pre_hook(
                lambda module, args, kwargs: (
                    self._on_forward_begin((args, kwargs)) if is_root(module) else None
                ),
                with_kwargs=True,
            ),
            root.register_forward_hook(
                lambda module, args, kwargs, output: (
                    self._on_forward(args, kwargs, output) if is_root(module) else None
                ),
                with_kwargs=True,
            ),
            root.register_forward_hook(
                lambda module, _args, _output: self._exit_mode() if is_root(module) else None,
                always_call=True,
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

    def record_unknown_rows(self) -> None:
        """Record that a pass had other rows than those of the batch as the loader yielded it."""
        self._record(rows=NOT_LOADERS_ROWS)

    def remove(self) -> None:
        """Detach the hooks."""
        for handle in self._handles:
            handle.remove()
        self._handles = ()
        self._outputs.clear()

    @property
    def _is_active(self) -> bool:
        """Whether the present pass is a training pass whose gradients are captured."""
        capture = self._capture
        return capture.root.training and torch.is_grad_enabled() and capture.enabled and capture.is_attached

    def _on_forward_begin(self, call: Any) -> None:
        """Decide whether the pass is probed in full, and watch the losses inside the module if need be."""
        self._exit_mode()
        if not self._is_active:
            return
        self._full = self._probe_fully() or NOT_PROBED_YET in (self._result.model, self._result.values)
        self._rng_before = GeneratorStates.now() if self._full else None
        self._inputs_before = InputsBefore(call if self._full else ())
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
        """Probe a pass after its forward, and return its output with watched tensors in it."""
        self._exit_mode()
        if not self._is_active:
            return None
        self._passes += 1
        outputs = [x for x in iter_tensors(output) if x.requires_grad and x.is_floating_point() and x.dim()]
        scalars = [x for x in iter_tensors(output) if x.requires_grad and not x.dim()]
        sizes = {x.shape[batch_dim_of(x, self._batch_dim)] for x in outputs}
        size = sizes.pop() if len(sizes) == 1 else 0
        # probe model and values, with the rows in two random halves
        if size > 1 and self._full and self._rng_before is not None:
            shuffled = torch.randperm(size, generator=self._halving_generator)
            self._halves = shuffled[: size // 2].sort().values, shuffled[size // 2 :].sort().values
            try:
                self._record(model=probe_model(self._capture, outputs, self._halves, self._batch_dim))
            except (RuntimeError, MemoryError) as error:
                self._record(model=f"not probed: {(str(error) or type(error).__name__).splitlines()[0]}")
            self._check_reruns((args, kwargs), output, self._rng_before, size)
        elif sizes or not outputs:
            reason = f"not probed: no output has the batch as dimension {self._batch_dim}"
            self._record(model=reason, values=reason, loss=reason)
        # watch the outputs, so that what the loss does with them is seen
        self._rules.begin_pass(size, fully=self._full)
        self._module_losses = list[Tensor]()
        output = watch_outputs(output, scalars, self._module_losses, self._watcher)
        watched_outputs = list[Tensor]()
        output = watch_outputs(output, outputs, watched_outputs, self._watcher)
        if self._full and size > 1:
            self._outputs.append((watched_outputs, self._halves))
        return output

    def _check_reruns(
        self,
        call: tuple[tuple[Any, ...], dict[str, Any]],
        output: Any,
        rng_before: GeneratorStates,
        size: int,
    ) -> None:
        """Check outputs and losses by running the module again on other rows.

        Args:
            call: The arguments of the pass, into which it may have written.
            output: Its output.
            rng_before: The random generators before it.
            size: Rows of its batch.
        """
        before, self._inputs_before = self._inputs_before, InputsBefore(())
        reruns = ModuleReruns(
            self._capture,
            before.with_copies(call),
            output,
            rng_before,
            batch_size=size,
            batch_dim=self._batch_dim,
            halves=self._halves,
        )
        rows = reruns.check_rows_are_the_loaders(before.with_copies(self._last_batch()))
        if rows == NO_DEPENDENCE:
            rows = self._collation_doubt() or NO_DEPENDENCE
        self._record(rows=rows, values=reruns.check_replaced_rows())
        if any(x.requires_grad and not x.dim() for x in iter_tensors(output)):
            self._record(loss=reruns.check_own_loss(type(self._capture.root).__name__))
        self._lengths.add(input_lengths(reruns))
        lengths = check_padding(reruns, self._paddings, vary=len(self._lengths) > 1)
        if lengths is not None:
            self._record(lengths=lengths)

    def _record(self, **findings: str) -> None:
        """Record what was found, by field of ``ProbeResult``.

        "No dependence found" is kept whatever a later pass gives, except that rows are not the loader's,
        which is kept for good.
        """
        for name, finding in findings.items():
            last = getattr(self._result, name)
            if finding == NOT_LOADERS_ROWS or last not in (NO_DEPENDENCE, NOT_LOADERS_ROWS):
                self._result = replace(self._result, **{name: finding})  # type: ignore[arg-type]

    def _on_tensor_call(self, func: Any, args: tuple[Any, ...], kwargs: Any, result: Any) -> str:
        """Check a call of a function on watched outputs, and return what its result's first dimension is."""
        if func is not Tensor.backward:
            return self._rules.on_call(func, args, kwargs, result)
        if self._outputs and not self._probing_loss and not any(args[0] is x for x in self._module_losses):
            self._probing_loss = True
            self._note_outside_parameters(args[0])
            try:
                self._record(loss=probe_loss(args[0], self._outputs, self._batch_dim))
            except RuntimeError as error:
                self._record(loss=f"not probed: {str(error).splitlines()[0]}")
            finally:
                self._probing_loss = False
        return REDUCED

    def _note_outside_parameters(self, loss: Tensor) -> None:
        """Note the trainable parameters of other modules on which a loss depends: no noise covers them."""
        for parameter in leaf_parameters(loss):
            self._rules.remarks[
                f"not covered: a trainable parameter of shape {tuple(parameter.shape)} outside the module, "
                "before or after it, on which the loss depends; if it is trained on these records, no noise "
                "covers it, and it changes the module's gradients: make one module of both, or freeze it"
            ] = None
