"""What is done with the outputs until ``backward()``: losses in which examples share a scale, a selection or a statistic are refused."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from quintain.core.errors import PrivacyError
from quintain.dp.gradients.watched import BATCH, CHOSEN, ONE, SUMMED, Watched, flat, rows_of

CLASSES = (F.cross_entropy, F.nll_loss)
BINARY = (F.binary_cross_entropy, F.binary_cross_entropy_with_logits)
LOSSES: Mapping[Any, Any] = {
    loss: signature(loss)
    for loss in (
        *CLASSES,
        *BINARY,
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
SCALING = frozenset(
    {"div", "true_divide", "divide", "mul", "multiply"} | {f"__{name}__" for name in ("truediv", "rtruediv", "mul", "rmul")}
)
SELECTING: Mapping[str, tuple[int, int | None]] = {
    **dict.fromkeys(("topk", "kthvalue"), (1, -1)),
    **dict.fromkeys(("sort", "mode"), (0, -1)),
    **dict.fromkeys(("median", "nanmedian", "quantile", "nanquantile", "max", "min", "amax", "amin", "aminmax"), (0, None)),
    **dict.fromkeys(("msort", "cummax", "cummin"), (0, 0)),
}
"""Whole numbers that come before the dimension, and the dimension by default; None is all."""
REDUCING = frozenset({"mean", "sum", "nanmean", "nansum"})
CHOOSING = frozenset({"__getitem__", "masked_select", "index_select", "take"})
SCATTERING = frozenset(
    name + ending
    for name in ("masked_scatter", "index_put", "index_add", "index_copy", "scatter", "scatter_add", "scatter_reduce", "segment_reduce")
    for ending in ("", "_")
)
ADDING = frozenset({"add", "sub", "__add__", "__radd__", "__iadd__", "__sub__", "add_"})

TELLING = 8
"""Labels that are the same in two orders hardly by chance."""
EXACT = 1e-5
"""How far apart equal scales may be, relative to them."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much one term of a batch's mean or sum counts in what was differentiated.

    Args:
        mean: Whether the operation was a mean.
        arrived: Gradient at its result.
        terms: Numbers that it was over.
        batch: Examples of the pass.
    """

    mean: bool
    arrived: float
    terms: int
    batch: int

    @property
    def each(self) -> float:
        """Of one term."""
        return self.arrived / self.terms if self.mean else self.arrived


class LossRules:
    """What is known of a run's losses; a loss of one term an example passes.

    Args:
        mean: Whether losses are declared to be means over the batch, or sums.
    """

    def __init__(self, *, mean: bool) -> None:
        self._mean = mean
        self._known: dict[str, list[Tensor]] = {}
        self._closed: frozenset[str] = frozenset()
        self._targets: list[tuple[Tensor, Tensor]] = []
        self._batch, self._close = 0, False
        self._scales: list[Scale] = []
        self._earlier: tuple[Scale, ...] = ()
        self.remarks: dict[str, None] = {}
        self.seen = False

    def begin(self, batch: int, *, close: bool) -> None:
        """A pass over so many examples begins; a close look measures scales as well."""
        self._batch, self._close = batch, close
        self._targets.clear()

    def stepped(self) -> None:
        """Its step is about to be made: constants are known by now.

        Raises:
            PrivacyError: If what was declared a mean is a sum, or the reverse.
        """
        self._targets.clear()
        self._closed = frozenset(self._known)
        if self._scales:
            self._judge_scales()

    def called(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> str:
        """A function of torch was called on outputs, or on what was made of them; what the first dimension of the result is."""
        name, rows = getattr(func, "__name__", ""), rows_of(args, kwargs)
        if func in LOSSES:
            self.loss(func, args, kwargs)
            reduction, given = (_argument(func, args, kwargs, name) for name in ("reduction", "input"))
            if reduction == "none" or rows not in (BATCH, CHOSEN):
                return rows
            classes = given.shape[1] if func in CLASSES and given.dim() > 1 else 1
            self._reduced(reduction != "sum", rows is CHOSEN, given, given.numel() // classes, result)
            return SUMMED
        if name in SCALING:
            if rows is not ONE and self._batch > 1:
                self._scaled(name, args)
        elif rows not in (BATCH, CHOSEN):
            pass
        elif name in SELECTING:
            self._selected(name, args, kwargs, result)
        elif name in REDUCING and _along_first(args[0], args[1:], kwargs, None):
            chosen = rows is CHOSEN or (name == "nanmean" and bool(args[0].isnan().any()))
            self._reduced("mean" in name, chosen, args[0], args[0].numel(), result)
            return SUMMED
        return self._following(name, rows, args, result)

    def _reduced(self, mean: bool, chosen: bool, x: Tensor, terms: int, result: Any) -> None:
        """A mean or sum over the batch, or over what was chosen from it."""
        if mean and chosen and self._batch > 1 and isinstance(result, Tensor) and result.requires_grad:
            result.register_hook(_refuse_mean_of_chosen)
        if self._close and isinstance(x, Tensor):
            self._measure(mean, terms, result)

    def _following(self, name: str, rows: str, args: tuple[Any, ...], result: Any) -> str:
        """What the first dimension is after an operation that is no reduction over it."""
        if name in SCATTERING or (rows is ONE and name in ("stack", "cat", "concat", "concatenate", "vstack", "hstack")):
            return BATCH
        if rows is ONE and name in ADDING and all(isinstance(x, Watched) for x in args[:2]):
            return SUMMED
        if rows is not BATCH or self._batch < 2 or not isinstance(args[0], Watched):
            return rows
        if name in ("unbind", "__iter__", "select", "__getitem__") and _drops_first(name, args):
            return ONE
        if name not in CHOOSING or not isinstance(result, Tensor) or result.shape[:1] == args[0].shape[:1]:
            return rows
        return CHOSEN if any(isinstance(x, Tensor) and x.dim() for x in flat(args[1:])) else rows

    def loss(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """A loss of torch: its labels, and its weights.

        Raises:
            PrivacyError: If its mean divides by what the batch holds, its weights follow the batch, or its labels pair the examples.
        """
        self.seen = True
        of = partial(_argument, func, args, kwargs)
        given, target, weight = of("input"), of("target"), of("weight")
        if func in CLASSES:
            _refuse_shared_mean(func.__name__, given, target, weight, ignore_index=of("ignore_index"), reduction=of("reduction"))
        elementwise = func in BINARY and isinstance(weight, Tensor) and weight.dim() == given.dim()
        for argument, constant in (("weight", None if elementwise else weight), ("pos_weight", of("pos_weight"))):
            if isinstance(constant, Tensor):
                self._constant(f"{func.__name__}(..., {argument}=)", constant)
        self._paired(func.__name__, given, target)

    def _constant(self, name: str, value: Tensor) -> None:
        """A number that all examples share keeps the value of the first step: another one is taken to follow the batch."""
        if value.requires_grad:
            return
        known = self._known.setdefault(name, [])
        if any(torch.equal(value, other) for other in known):
            return
        if name in self._closed:
            raise PrivacyError(
                f"{name} in the loss is another tensor than at the first step: worked out from a batch, it makes each record change the "
                "scale of all others; expected public constants (weights from public counts, a division by the number of examples), or a "
                "number of Python for a schedule"
            )
        known.append(value.detach().clone())
        self.remarks[f"not checked at the first step: whether {name} follows the batch (a change at a later step is refused)"] = None

    def _scaled(self, name: str, args: tuple[Any, ...]) -> None:
        """The loss, or a term of it, times or over one number."""
        for value in args[:2]:
            if isinstance(value, Tensor) and value.numel() == 1 and not value.requires_grad and torch.is_grad_enabled():
                if name.strip("_") not in ("mul", "rmul", "multiply") and value.item() == self._batch:
                    continue
                self._constant(f"a tensor of one number that multiplies or divides ({name.strip('_')})", value)

    def _selected(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> None:
        """Some of the batch's terms: the choice follows all of them."""
        before, default = SELECTING[name]
        if any(isinstance(x, Tensor) for x in (*args[1:], kwargs.get("other"))) and "quantile" not in name:
            return
        if not self._over_batch(args[0], args[1 + before :], kwargs, default):
            return
        for value in (result,) if isinstance(result, Tensor) else result:
            if value.requires_grad:
                value.register_hook(partial(_refuse_selection, name))

    def _over_batch(self, x: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], default: int | None) -> bool:
        """Whether an operation goes along or over the batch."""
        if not isinstance(x, Tensor) or not x.dim() or self._batch < 2 or not x.shape[0] or x.shape[0] % self._batch:
            return False
        return _along_first(x, args, kwargs, default)

    def _measure(self, mean: bool, terms: int, result: Any) -> None:
        """Note how much a term counts, once the gradient arrives."""
        if not isinstance(result, Tensor) or not result.requires_grad or result.dim() or self._batch < 2 or not terms:
            return
        batch = self._batch

        def arrived(g: Tensor) -> None:
            self._scales.append(Scale(mean, float(g.detach()), terms, batch))

        result.register_hook(arrived)

    def _judge_scales(self) -> None:
        now, self._scales = tuple(self._scales), []
        earlier, self._earlier = self._earlier, now
        for scale in now:
            if scale.arrived == 1 and scale.mean is not self._mean:
                self._refuse_reduction()
        if len(now) != len(earlier):
            return
        for scale, other in zip(now, earlier, strict=True):
            if scale.batch == other.batch or not scale.each or not other.each:
                continue
            alike, each = _equal(scale.each, other.each), _equal(scale.each * scale.batch, other.each * other.batch)
            if (alike, each) == ((True, False) if self._mean else (False, True)):
                self._refuse_reduction()
            if not (each if self._mean else alike):
                self.remarks["not checked: what one example counts changes from step to step, by a schedule or by the batch"] = None

    def _refuse_reduction(self) -> None:
        said, done = ("mean", "sum") if self._mean else ("sum", "mean")
        raise PrivacyError(
            f'the loss is a {done} over the batch where loss_reduction="{said}" was declared: one record then changes the scale of all '
            f'others; expected loss_reduction="{done}", or a {said}'
        )

    def _paired(self, name: str, given: Any, target: Any) -> None:
        """The same outputs against two orders of the same labels: each example is paired with another."""
        if not isinstance(given, Tensor) or not isinstance(target, Tensor) or not target.dim():
            return
        for other, labels in self._targets:
            alike = other is given and labels.shape == target.shape and len(target) >= TELLING
            if alike and not torch.equal(labels, target) and torch.equal(labels.sort(0).values, target.sort(0).values):
                raise PrivacyError(
                    f"{name} was called twice on the same outputs, with the same labels in two orders: mixed examples (mixup, cutmix) "
                    "carry two records in one row; expected each row to be one record: mix with public data, or other views of the record"
                )
        self._targets.append((given, target))


class LossMode(TorchFunctionMode):
    """Sees the losses of torch that are called inside a pass."""

    def __init__(self, rules: LossRules) -> None:
        super().__init__()
        self._rules = rules

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in LOSSES:
            with torch._C.DisableTorchFunction():
                self._rules.loss(func, args, kwargs or {})
        return func(*args, **(kwargs or {}))


def _refuse_shared_mean(name: str, given: Tensor, target: Tensor, weight: Tensor | None, *, ignore_index: int, reduction: str) -> None:
    """A mean over the weights of the batch's labels, or over the labels that are not to be ignored, differs with every record."""
    if reduction != "mean" or given.dim() < 2:
        return
    ignored = not target.is_floating_point() and bool((target == ignore_index).any())
    if weight is not None or ignored:
        raise PrivacyError(
            f"{name} takes a mean that divides by {'the weights of' if weight is not None else 'how many labels count in'} the whole "
            'batch: one record then changes the scale of all others; expected reduction="none", the mean within each example, and a mean '
            "over these (of a model that works out its loss itself, take the outputs)"
        )


def _along_first(x: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], default: int | None) -> bool:
    """Whether an operation goes along or over the first dimension."""
    if not isinstance(x, Tensor) or not x.dim():
        return False
    given = (arg for arg in args if isinstance(arg, (int, tuple, list)) and not isinstance(arg, bool))
    dims = kwargs.get("dim", next(given, default))
    return dims is None or any(dim % x.dim() == 0 for dim in ((dims,) if isinstance(dims, int) else dims))


def _drops_first(name: str, args: tuple[Any, ...]) -> bool:
    """Whether what comes out is of one row: of an index, or of each in turn."""
    if name == "__getitem__":
        first = args[1][0] if isinstance(args[1], tuple) and args[1] else args[1]
        return isinstance(first, int) and not isinstance(first, bool)
    return not args[1:] or args[1] == 0


def _refuse_mean_of_chosen(gradient: Tensor) -> None:
    if bool((gradient != 0).any()):
        raise PrivacyError(
            "the loss takes a mean over some of a batch's rows that were chosen by their values (a mask, an index, numbers that are not "
            "NaN): it divides by how many there are, so that one record changes the scale of all others; expected the sum over those "
            "chosen, divided by the number of examples: len(x)"
        )


def _refuse_selection(name: str, gradient: Tensor) -> None:
    if bool((gradient != 0).any()):
        raise PrivacyError(
            f"the loss selects among the examples of a batch ({name} over the batch): which count, and how much, then follows all of them; "
            "expected every example to count by a rule that looks at it alone, such as a fixed threshold"
        )


def _argument(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], name: str) -> Any:
    """An argument by name, or its default; None if the function has none of that name."""
    if name in kwargs:
        return kwargs[name]
    parameters = LOSSES[func].parameters
    if name not in parameters:
        return None
    at = list(parameters).index(name)
    return args[at] if at < len(args) else (None if parameters[name].default is parameters[name].empty else parameters[name].default)


def _equal(one: float, other: float) -> bool:
    return abs(one - other) <= EXACT * max(abs(one), abs(other))
