"""Rules for losses: those in which examples share a scale, a selection or a statistic are refused."""

from collections.abc import Mapping
from functools import partial
from inspect import signature
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from quintain.core.errors import PrivacyError
from quintain.dp.capture.loss_operations import (
    ADDITION_OPS,
    COMPARISON_OPS,
    INDEXING_OPS,
    LINEAR_OPS,
    PRODUCT_OPS,
    REDUCTION_OPS,
    SCALING_OPS,
    SCATTER_OPS,
    SELECTION_OPS,
    STACKING_OPS,
)
from quintain.dp.capture.loss_scales import LossScales
from quintain.dp.capture.watched_tensor import (
    ONE_EXAMPLE,
    REDUCED,
    SELECTED_EXAMPLES,
    WHOLE_BATCH,
    WatchedTensor,
    first_dim_of,
    flatten_nested,
)

CLASS_LOSSES = (F.cross_entropy, F.nll_loss)
BINARY_LOSSES = (F.binary_cross_entropy, F.binary_cross_entropy_with_logits)
LOSS_SIGNATURES: Mapping[Any, Any] = {
    loss: signature(loss)
    for loss in (
        *CLASS_LOSSES,
        *BINARY_LOSSES,
        F.mse_loss,
        F.l1_loss,
        F.smooth_l1_loss,
        F.huber_loss,
        F.kl_div,
        F.poisson_nll_loss,
        F.gaussian_nll_loss,
        F.multilabel_margin_loss,
        F.multilabel_soft_margin_loss,
        F.multi_margin_loss,
        F.soft_margin_loss,
        F.hinge_embedding_loss,
    )
}
MIN_LABELS_TO_COMPARE = 8
"""At least so many labels are compared, since fewer may equal each other in two orders by chance."""


class LossRules:
    """Checks the losses of a run by rules; a loss with one term for each example passes.

    Args:
        mean: Whether losses are declared to be means over the batch, or sums.
    """

    def __init__(self, *, mean: bool) -> None:
        self._constants: dict[str, list[Tensor]] = {}
        self._names_at_first_step: frozenset[str] = frozenset()
        self._targets: list[tuple[Tensor, Tensor]] = []
        self._batch_size, self._probe_fully = 0, False
        self._scales = LossScales(mean=mean)
        self.remarks: dict[str, None] = {}
        self.saw_loss = False

    def begin_pass(self, batch_size: int, *, fully: bool) -> None:
        """Begin a pass over so many examples; with ``fully``, scales are measured as well."""
        self._batch_size, self._probe_fully = batch_size, fully
        self._targets.clear()

    def on_step(self) -> None:
        """Finish the checks of a step that is about to be made.

        Raises:
            PrivacyError: If what was declared a mean is a sum, or the reverse.
        """
        self._targets.clear()
        self._names_at_first_step = frozenset(self._constants)
        if self._scales.were_seen:
            remark = self._scales.finish_step()
            self.remarks |= {remark: None} if remark else {}
        elif self._probe_fully and self._batch_size > 1:
            self.remarks[
                "not checked: whether the loss is a mean or a sum, as declared; none over the batch was seen "
                "as such (torch's mean and sum, and its loss functions, are)"
            ] = None

    def on_call(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> str:
        """Apply the rules to one call of a torch function.

        Args:
            func, args, kwargs: The function and its arguments, some of them outputs or computed from outputs.
            result: What it returned.

        Returns:
            What the first dimension of the result stands for.
        """
        name, first_dim = getattr(func, "__name__", ""), first_dim_of(args, kwargs)
        if func in LOSS_SIGNATURES:
            self.check_loss(func, args, kwargs)
            reduction, outputs = (_argument(func, args, kwargs, key) for key in ("reduction", "input"))
            if first_dim is REDUCED:
                self._on_call_of_reduced(name, args, result)
            if reduction == "none" or first_dim not in (WHOLE_BATCH, SELECTED_EXAMPLES):
                return first_dim
            num_classes = outputs.shape[1] if func in CLASS_LOSSES and outputs.dim() > 1 else 1
            self._on_reduction(
                reduction != "sum",
                first_dim is SELECTED_EXAMPLES,
                outputs,
                outputs.numel() // num_classes,
                result,
            )
            return REDUCED
        if first_dim is REDUCED:
            self._on_call_of_reduced(name, args, result)
        if name in SCALING_OPS or (name in PRODUCT_OPS and first_dim is REDUCED):
            if first_dim is not ONE_EXAMPLE and self._batch_size > 1:
                self._on_scaling(name, args)
        elif first_dim not in (WHOLE_BATCH, SELECTED_EXAMPLES):
            pass
        elif name in SELECTION_OPS:
            self._on_selection(name, args, kwargs, result)
        elif name in REDUCTION_OPS and _is_over_first_dim(args[0], args[1:], kwargs, None):
            is_selected = first_dim is SELECTED_EXAMPLES or (
                name == "nanmean" and bool(args[0].isnan().any())
            )
            num_terms = args[0].numel() // max(result.numel(), 1)
            self._on_reduction("mean" in name, is_selected, args[0], num_terms, result)
            # what still has as many rows may be of another dimension, such as heads: left to the other probes
            is_over_batch = self._batch_size < 2 or not result.dim() or len(result) % self._batch_size
            return REDUCED if is_over_batch else ONE_EXAMPLE
        return self._first_dim_after(name, first_dim, args, kwargs, result)

    def _on_call_of_reduced(self, name: str, args: tuple[Any, ...], result: Any) -> None:
        """Handle an operation on a loss that is over the batch: it must be linear, kinks included."""
        if self._batch_size < 2:
            return
        if name in COMPARISON_OPS:
            self.remarks[
                "not checked: whether the loop goes another way by a comparison with the loss of a batch"
            ] = None
        over_batch = [isinstance(x, WatchedTensor) and x.first_dim is REDUCED for x in args[:2]]
        product = name in SCALING_OPS | PRODUCT_OPS and all(over_batch) and len(over_batch) > 1
        divisor = "div" in name and len(over_batch) > 1 and over_batch[1]
        if (
            (name not in LINEAR_OPS or product or divisor)
            and isinstance(result, Tensor)
            and result.requires_grad
        ):
            result.register_hook(partial(_refuse_nonlinear, name))

    def _on_reduction(self, is_mean: bool, is_selected: bool, x: Tensor, num_terms: int, result: Any) -> None:
        """Handle a mean or sum over the batch, or over examples selected from it."""
        if (
            is_mean
            and is_selected
            and self._batch_size > 1
            and isinstance(result, Tensor)
            and result.requires_grad
        ):
            result.register_hook(_refuse_mean_of_selected)
        if self._probe_fully and isinstance(x, Tensor):
            self._scales.record(is_mean, num_terms, self._batch_size, result)

    def _first_dim_after(
        self, name: str, first_dim: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any
    ) -> str:
        """What the first dimension stands for after an operation that does not reduce over it."""
        if name in SCATTER_OPS or (first_dim is ONE_EXAMPLE and name in STACKING_OPS):
            return WHOLE_BATCH
        if (
            first_dim is ONE_EXAMPLE
            and name in ADDITION_OPS
            and all(isinstance(x, WatchedTensor) for x in args[:2])
        ):
            return REDUCED
        if first_dim is not WHOLE_BATCH or self._batch_size < 2 or not isinstance(args[0], WatchedTensor):
            return first_dim
        if name in ("unbind", "__iter__", "select", "__getitem__") and _drops_first_dim(name, args, kwargs):
            return ONE_EXAMPLE
        if (
            name not in INDEXING_OPS
            or not isinstance(result, Tensor)
            or result.shape[:1] == args[0].shape[:1]
        ):
            return first_dim
        return (
            SELECTED_EXAMPLES
            if any(isinstance(x, Tensor) and x.dim() for x in flatten_nested(args[1:]))
            else first_dim
        )

    def check_loss(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Check a loss function of torch: its labels and its weights.

        Raises:
            PrivacyError: If its mean divides by what the batch holds, its weights follow the batch, or its
                labels pair the examples.
        """
        self.saw_loss = True
        argument = partial(_argument, func, args, kwargs)
        outputs, target, weight = argument("input"), argument("target"), argument("weight")
        if func in CLASS_LOSSES:
            _refuse_shared_mean(
                func.__name__,
                outputs,
                target,
                weight,
                ignore_index=argument("ignore_index"),
                reduction=argument("reduction"),
            )
        elementwise = func in BINARY_LOSSES and isinstance(weight, Tensor) and weight.dim() == outputs.dim()
        for name, constant in (
            ("weight", None if elementwise else weight),
            ("pos_weight", argument("pos_weight")),
        ):
            if isinstance(constant, Tensor):
                self._check_constant(f"{func.__name__}(..., {name}=)", constant)
        self._check_pairing(func.__name__, outputs, target)

    def _check_constant(self, name: str, value: Tensor) -> None:
        """Check a constant that all examples share: other values than at the first step are refused."""
        if value.requires_grad:
            return
        known = self._constants.setdefault(name, [])
        if any(torch.equal(value, other) for other in known):
            return
        if name in self._names_at_first_step:
            raise PrivacyError(
                f"{name} in the loss is another tensor than at the first step: worked out from a batch, it "
                "makes each record change the scale of all others; expected public constants (weights from "
                "public counts, a division by the number of examples), or a number of Python for a schedule"
            )
        known.append(value.detach().clone())
        self.remarks[
            f"not checked at the first step: whether {name} follows the batch (a change at a later step is "
            "refused)"
        ] = None

    def _on_scaling(self, name: str, args: tuple[Any, ...]) -> None:
        """Handle a product or quotient of a loss and one number."""
        over_batch = any(isinstance(x, WatchedTensor) and x.first_dim is REDUCED for x in args[:2])
        for value in args[:2]:
            if (
                isinstance(value, Tensor)
                and (value.numel() == 1 or over_batch)
                and not value.requires_grad
                and torch.is_grad_enabled()
            ):
                if "div" in name and value.numel() == 1 and value.item() == self._batch_size:
                    continue
                self._check_constant(
                    f"a tensor of one number that multiplies or divides ({name.strip('_')})", value
                )

    def _on_selection(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> None:
        """Handle a selection among the batch's terms, which depends on all of them."""
        num_ints_before_dim, default_dim = SELECTION_OPS[name]
        if any(isinstance(x, Tensor) for x in (*args[1:], kwargs.get("other"))) and "quantile" not in name:
            return
        if not self._is_over_batch(args[0], args[1 + num_ints_before_dim :], kwargs, default_dim):
            return
        for value in (result,) if isinstance(result, Tensor) else result:
            if value.requires_grad:
                value.register_hook(partial(_refuse_selection, name))

    def _is_over_batch(
        self, x: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], default_dim: int | None
    ) -> bool:
        """Whether an operation acts along or over the first dimension of ``x``, and it can hold the batch.

        It can if its length is a multiple of the batch size: each example may have several rows.
        """
        if (
            not isinstance(x, Tensor)
            or not x.dim()
            or self._batch_size < 2
            or not x.shape[0]
            or x.shape[0] % self._batch_size
        ):
            return False
        return _is_over_first_dim(x, args, kwargs, default_dim)

    def _check_pairing(self, name: str, outputs: Any, target: Any) -> None:
        """Refuse one set of outputs with two orders of the same labels, as mixed examples have."""
        if not isinstance(outputs, Tensor) or not isinstance(target, Tensor) or not target.dim():
            return
        for earlier_outputs, labels in self._targets:
            is_comparable = (
                earlier_outputs is outputs
                and labels.shape == target.shape
                and len(target) >= MIN_LABELS_TO_COMPARE
            )
            if (
                is_comparable
                and not torch.equal(labels, target)
                and torch.equal(labels.sort(0).values, target.sort(0).values)
            ):
                raise PrivacyError(
                    f"{name} was called twice on the same outputs, with the same labels in two orders: mixed "
                    "examples (mixup, cutmix) carry two records in one row; expected each row to be one "
                    "record: mix with public data, or other views of the record"
                )
        self._targets.append((outputs, target))


class LossMode(TorchFunctionMode):
    """A mode that sees the loss functions of torch that the module itself calls."""

    def __init__(self, rules: LossRules) -> None:
        super().__init__()
        self._rules = rules

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in LOSS_SIGNATURES:
            with torch._C.DisableTorchFunction():
                self._rules.check_loss(func, args, kwargs or {})
        return func(*args, **(kwargs or {}))


def _refuse_shared_mean(
    name: str, outputs: Tensor, target: Tensor, weight: Tensor | None, *, ignore_index: int, reduction: str
) -> None:
    """Refuse a mean that divides by the labels' weights, or by the number of labels not ignored."""
    # outputs (K,) are one example without a batch dimension, whose mean shares nothing
    if reduction != "mean" or outputs.dim() < 2:
        return
    ignored = not target.is_floating_point() and bool((target == ignore_index).any())
    if weight is not None or ignored:
        raise PrivacyError(
            f"{name} takes a mean that divides by "
            f"{'the weights of' if weight is not None else 'how many labels count in'} the whole "
            'batch: one record then changes the scale of all others; expected reduction="none", '
            "the mean within each example, and a mean over these "
            "(of a model that works out its loss itself, take the outputs)"
        )


def _is_over_first_dim(
    x: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], default_dim: int | None
) -> bool:
    """Whether an operation acts along or over the first dimension of ``x``, whatever that holds.

    Args:
        x: What it acts on.
        args: Its positional arguments from the dimension on; others are passed over.
        kwargs: Its arguments by name.
        default_dim: The dimension if none is given; None is all of them.
    """
    if not isinstance(x, Tensor) or not x.dim():
        return False
    positional = (arg for arg in args if isinstance(arg, (int, tuple, list)) and not isinstance(arg, bool))
    dims = kwargs.get("dim", next(positional, default_dim))
    return dims is None or any(dim % x.dim() == 0 for dim in ((dims,) if isinstance(dims, int) else dims))


def _drops_first_dim(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether each result is a single row of the first dimension: one index of it, or each row in turn."""
    if name == "__getitem__":
        first = args[1][0] if isinstance(args[1], tuple) and args[1] else args[1]
        return isinstance(first, int) and not isinstance(first, bool)
    dim = kwargs.get("dim", args[1] if len(args) > 1 else 0)
    return bool(dim % max(args[0].dim(), 1) == 0)


def _refuse_mean_of_selected(gradient: Tensor) -> None:
    if bool((gradient != 0).any()):
        raise PrivacyError(
            "the loss takes a mean over some of a batch's rows that were chosen by their values (a mask, an "
            "index, numbers that are not NaN): it divides by how many there are, so that one record changes "
            "the scale of all others; expected the sum over those chosen, divided by the number of examples: "
            "len(x)"
        )


def _refuse_nonlinear(name: str, gradient: Tensor) -> None:
    if bool((gradient != 0).any()):
        raise PrivacyError(
            f"the loss mixes the examples of a batch: {name} is applied to their mean or sum, so that one "
            "record changes the scale of all others; expected it on each example's own term, before the "
            "mean (so flooding, too: (losses - b).abs().mean() + b)"
        )


def _refuse_selection(name: str, gradient: Tensor) -> None:
    if bool((gradient != 0).any()):
        raise PrivacyError(
            f"the loss selects among the examples of a batch ({name} over the batch): which count, and how "
            "much, then follows all of them; expected every example to count by a rule that looks at it "
            "alone, such as a fixed threshold"
        )


def _argument(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], name: str) -> Any:
    """An argument by name, or its default; None if the function has none of that name."""
    if name in kwargs:
        return kwargs[name]
    parameters = LOSS_SIGNATURES[func].parameters
    if name not in parameters:
        return None
    position = list(parameters).index(name)
    return (
        args[position]
        if position < len(args)
        else (None if parameters[name].default is parameters[name].empty else parameters[name].default)
    )
