"""Reruns of the module on other rows: whether outputs of an example, or a loss inside, depend on others."""

import copy
import math
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import fields, is_dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_unflatten

from quintain.core.errors import PrivacyError
from quintain.dp.capture.batch_dim import batch_dim_of
from quintain.dp.capture.hooks import Capture
from quintain.dp.randomness.generator_states import GeneratorStates

NO_DEPENDENCE = "no dependence found between examples"
NOT_LOADERS_ROWS = (
    "not checked: the module is given other numbers than the loader yields, and what made them could mix "
    "records"
)
STRETCH = 3.0
"""Factor of replaced floating-point rows, so that a largest or smallest entry of the batch moves too.

Entries that are integers in every row may be indices or masks, and stay as they are.
"""
DROPOUT_FUNCTIONS = frozenset(
    {
        F.dropout,
        F.dropout1d,
        F.dropout2d,
        F.dropout3d,
        F.alpha_dropout,
        F.feature_alpha_dropout,
        torch.dropout,
        torch.alpha_dropout,
    }
)


class WithoutDropout(TorchFunctionMode):
    """A mode in which dropout keeps everything: its masks depend on the layout of a batch and say nothing."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in DROPOUT_FUNCTIONS:
            return args[0] if args else kwargs["input"]
        if func is F.scaled_dot_product_attention:
            args, kwargs = (
                (*args[:4], 0.0, *args[5:]) if len(args) > 4 else args,
                {**kwargs, "dropout_p": 0.0} if len(args) < 5 else kwargs,
            )
        return func(*args, **kwargs)


class ModuleReruns:
    """Runs the module again on changed rows, and compares what must not change.

    Args:
        capture: The module's capture; it captures nothing meanwhile.
        call: The arguments of the real pass.
        outputs: Its outputs.
        rng_before: The random generators before it.
        batch_size: Rows of the batch.
        batch_dim: Which dimension is the batch.
        halves: All rows in two halves, of which one is replaced at a time.
    """

    def __init__(
        self,
        capture: Capture,
        call: tuple[tuple[Any, ...], dict[str, Any]],
        outputs: Any,
        rng_before: GeneratorStates,
        *,
        batch_size: int,
        batch_dim: int,
        halves: tuple[Tensor, Tensor],
    ) -> None:
        self._capture, self._real_outputs, self._rng_before, self._batch_size, self._batch_dim = (
            capture,
            outputs,
            rng_before,
            batch_size,
            batch_dim,
        )
        self._halves, self._rng_after = halves, rng_before
        self._leaves, self._tree_spec = tree_flatten(call)

    def check_rows_are_the_loaders(self, batch: Any) -> str:
        """Whether the module's inputs are the batch as the loader yielded it, or consecutive rows of it."""
        yielded = [x for x in tree_flatten(batch)[0] if isinstance(x, Tensor)]
        given = [leaf for leaf in self._leaves if self._holds_batch(leaf)]
        if given and all(any(_is_part(leaf, x) for x in yielded) for leaf in given):
            return NO_DEPENDENCE
        return NOT_LOADERS_ROWS

    def check_replaced_rows(self) -> str:
        """Check whether outputs of half of the examples depend on the other half.

        The other half is replaced by stretched rows.

        Raises:
            PrivacyError: If they do.
        """
        if not any(self._holds_batch(leaf) for leaf in self._leaves):
            return f"not checked: no input has the batch as dimension {self._batch_dim}"
        answer = NO_DEPENDENCE
        one, other = self._halves
        for changed, others, stretch in ((one, other, STRETCH), (other, one, -STRETCH)):
            leaves = self._inputs_with_rows_replaced(
                changed, others[torch.arange(len(changed)) % len(others)], stretch
            )
            outputs = self._rerun(leaves)
            if outputs is None:
                return "not checked: the module does not take other rows"
            real = self._batch_outputs(self._real_outputs)
            if not self._rows_agree(real, outputs, others):
                doubt = self._confirm_dependence(leaves, others)
                if doubt is not None:
                    return doubt
            if self._rows_agree(real, outputs, changed):
                answer = "not checked: the outputs do not follow the inputs"
        return answer

    def check_own_loss(self, name: str) -> str:
        """Whether a loss inside the module is a sum over the halves of the batch.

        For halves a and b and their replacements L(a, b) - L(a', b) - L(a, b') + L(a', b') must be 0.

        Raises:
            PrivacyError: If it is not.
        """
        slack, answer = (
            max(map(_tolerance, iter_tensors(self._real_outputs))),
            "not checked: the loss did not follow the examples",
        )
        every = torch.arange(self._batch_size)
        for sources in (
            every.roll(-1),
            torch.zeros_like(every),
            torch.full_like(every, self._batch_size - 1),
        ):
            found = [
                self._scalar_losses(
                    self._rerun(
                        self._inputs_with_rows_replaced(rows, sources[rows], 1.0), without_dropout=True
                    )
                )
                for rows in (every[:0], *self._halves, every)
            ]
            values = torch.stack([losses for losses in found if losses is not None])
            if len(values) < len(found):
                return "not checked: the module does not take other rows"
            whole, one, other, both = values
            allowed = slack * values.abs().amax(0)
            if bool((whole - one - other + both).abs().gt(allowed).any()):
                raise PrivacyError(
                    f"the loss that {name} works out itself mixes the examples of a batch: what one half "
                    "adds to it depends on the other half; expected a mean or sum of one term an example "
                    "(no mean over the batch's unmasked labels): take the module's outputs, and work out "
                    "the mean within each example first"
                )
            if bool((whole - both).abs().gt(allowed).any()):
                answer = NO_DEPENDENCE
        return answer

    def _scalar_losses(self, outputs: Any) -> Tensor | None:
        """All scalar outputs that are differentiable in the real pass."""
        if outputs is None:
            return None
        pairs = zip(iter_tensors(outputs), iter_tensors(self._real_outputs), strict=True)
        return torch.stack([x.double() for x, given in pairs if given.requires_grad and not given.dim()])

    @property
    def input_lengths(self) -> tuple[int, ...]:
        """The second dimension of each input that holds the batch."""
        return tuple(leaf.shape[1] for leaf in self._leaves if self._holds_batch(leaf) and leaf.dim() > 1)

    def check_padding(self, pads: dict[int, Tensor], *, vary: bool) -> str | None:
        """Whether outputs depend on how far the batch is padded.

        Checked without the longest examples, at full length and cut to what the others need.

        Args:
            pads: What rows of earlier batches ended with, by the index of the input.
            vary: Whether batches of several lengths were seen; if not, only the padding is noted, and there
                is no answer.

        Raises:
            PrivacyError: If they do.
        """
        plan = self._rows_to_shorten(pads)
        if not vary:
            return None
        if plan is None:
            return "not checked: no example is longer than the others"
        kept, length, cut = plan
        leaves = [
            leaf.index_select(0, kept.to(leaf.device)) if self._holds_batch(leaf) else leaf
            for leaf in self._leaves
        ]
        held = [self._holds_batch(leaf) for leaf in self._leaves]
        shorter = [
            _shorten(leaf, length, cut) if batch else leaf for leaf, batch in zip(leaves, held, strict=True)
        ]
        whole, short = (self._rerun(rows, evaluate=True) for rows in (leaves, shorter))
        if whole is None or short is None:
            return "not checked: the module does not take shorter rows"
        real = [_shorten(x, length, cut) for x in iter_tensors(whole) if x.dim() and len(x) == len(kept)]
        again = [x for x in iter_tensors(short) if x.dim() and len(x) == len(kept)]
        if not self._rows_agree(real, again, torch.arange(len(kept))):
            raise PrivacyError(
                f"the outputs of examples follow how far their batch is padded (to {length}, or to {cut} "
                "without its longest): one long record changes all others; expected padding that is masked "
                "everywhere, or one fixed length for all batches"
            )
        return NO_DEPENDENCE

    def _rows_to_shorten(self, pads: dict[int, Tensor]) -> tuple[Tensor, int, int] | None:
        """Return the rows that are not the longest, the batch's length, and theirs.

        Repeated equal endings are padding.
        """
        padded = {
            at: leaf for at, leaf in enumerate(self._leaves) if self._holds_batch(leaf) and leaf.dim() > 1
        }
        if self._batch_dim or not padded:
            return None
        length = next(iter(padded.values())).shape[1]
        needed = torch.zeros(self._batch_size, dtype=torch.int64)
        for at, leaf in padded.items():
            if leaf.shape[1] == length:
                flat = leaf.flatten(2) if leaf.dim() > 2 else leaf[..., None]
                tail = (flat == flat[:, -1:]).all(2).flip(1).int().cumprod(1).sum(1)
                ends = flat[tail > 1][:, -1]
                if not len(ends):
                    return None
                known, pads[at] = pads.get(at), ends.mode(0).values
                if known is None or not torch.equal(known, pads[at]):
                    return None
                padding = (tail > 1) & (flat[:, -1] == pads[at]).all(1)
                needed = torch.maximum(needed, torch.where(padding, length - tail, length).cpu())
        shorter = needed[needed < length]
        if not len(shorter) or len(shorter) == len(needed):
            return None
        cut = max(int(shorter.max()), 1)
        return torch.nonzero(needed <= cut).flatten(), length, cut

    def _confirm_dependence(self, leaves: list[Any], others: Tensor) -> str | None:
        """Raise if outputs differ for no other reason than the rows.

        Else return what cannot be known, if anything.
        """
        once, again = (
            self._rerun(self._leaves, without_dropout=True),
            self._rerun(self._leaves, without_dropout=True),
        )
        ended = self._rng_after
        changed = self._rerun(leaves, without_dropout=True)
        if once is None or again is None or changed is None:
            return "not checked: the module does not take other rows"
        one = self._batch_outputs(once)
        if not self._rows_agree(one, again, others):
            return "not checked: the module gives other outputs when it runs again on the same rows"
        if not self._rows_agree(one, changed, others):
            if not ended.is_like(self._rng_after):
                return "not checked: how many random numbers the module draws follows the rows"
            raise PrivacyError(
                "the output of one example depends on another: other rows in its batch change it; expected a "
                "module that looks at each example by itself (no statistic, maximum or sum over the batch, "
                "no attention over it); an input that all examples share, such as a mask, must not have as "
                "many rows as the batch: keep it in a buffer"
            )
        return None

    def _inputs_with_rows_replaced(self, changed: Tensor, sources: Tensor, stretch: float) -> list[Any]:
        """The module's inputs with some rows replaced by others."""
        return [
            self._replace_rows(leaf, changed, sources, stretch) if self._holds_batch(leaf) else leaf
            for leaf in self._leaves
        ]

    def _replace_rows(self, leaf: Tensor, changed: Tensor, sources: Tensor, stretch: float) -> Tensor:
        leaf = leaf.detach()
        dim = batch_dim_of(leaf, self._batch_dim)
        other = leaf.index_select(dim, sources.to(leaf.device))
        if leaf.is_floating_point():
            whole = (leaf == leaf.round()).all(dim, keepdim=True)
            other = torch.where(whole, other, other * stretch)
        return leaf.index_copy(dim, changed.to(leaf.device), other)

    def _holds_batch(self, leaf: Any) -> bool:
        return (
            isinstance(leaf, Tensor)
            and leaf.dim() > 0
            and leaf.shape[batch_dim_of(leaf, self._batch_dim)] == self._batch_size
        )

    def _batch_outputs(self, output: Any) -> list[Tensor]:
        return [x.detach() for x in iter_tensors(output) if self._holds_batch(x) and x.is_floating_point()]

    def _rows_agree(self, real: Sequence[Tensor], output: Any, rows: Tensor) -> bool:
        """Whether these rows of all outputs are equal up to rounding."""
        again = [x.detach() for x in iter_tensors(output) if x.is_floating_point() and x.dim()]
        again = (
            [x for x in again if any(x.shape == y.shape for y in real)] if len(again) != len(real) else again
        )
        return len(real) == len(again) and all(
            x.shape == y.shape and _are_close(x, y, batch_dim_of(x, self._batch_dim), rows)
            for x, y in zip(real, again, strict=True)
        )

    def _rerun(self, leaves: list[Any], *, evaluate: bool = False, without_dropout: bool = False) -> Any:
        """The module's outputs for these inputs, with the same random numbers; None if the module raises."""
        # copies: the module may write into what it gets, and these rows are given again
        copies = [leaf.detach().clone() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        args, kwargs = tree_unflatten(copies, self._tree_spec)
        after = GeneratorStates.now()
        mode = WithoutDropout() if without_dropout else nullcontext()
        with torch.no_grad(), self._capture.paused(), module_state_restored(self._capture.root), mode:
            self._rng_before.restore()
            try:
                for module in self._capture.root.modules() if without_dropout else ():
                    if isinstance(module, (nn.RNNBase, nn.MultiheadAttention)):
                        module.dropout = 0.0
                if evaluate:
                    for module in self._capture.root.modules():
                        module.training = False
                return self._capture.root(*args, **kwargs)
            except Exception:  # the user's forward raises whatever it likes: such a run says nothing
                return None
            finally:
                self._rng_after = GeneratorStates.now()
                after.restore()


@contextmanager
def module_state_restored(root: nn.Module) -> Iterator[None]:
    """A context after which all state that modules hold, counters and lists too, is as before."""
    kept: list[tuple[Any, Any]] = []
    for module in root.modules():
        held = vars(module)
        kept += [
            (value, copy.copy(value)) for value in held.values() if type(value) in (dict, set, list, deque)
        ]
        kept.append((held, dict(held)))
    try:
        yield
    finally:
        for container, content in kept:
            container.clear()
            (container.extend if isinstance(container, (list, deque)) else container.update)(content)


def iter_tensors(output: Any) -> Iterator[Tensor]:
    """All tensors in nested lists, tuples, dicts, data classes, and attributes of an object with logits."""
    if isinstance(output, Tensor):
        yield output
    elif is_dataclass(output) and not isinstance(output, (type, dict)):
        for name in (part.name for part in fields(output)):
            yield from iter_tensors(getattr(output, name, None))
    elif isinstance(output, (list, tuple)):
        for part in output:
            yield from iter_tensors(part)
    elif isinstance(output, dict):
        for part in output.values():
            yield from iter_tensors(part)
    elif has_logits(output):
        for part in vars(output).values():
            yield from iter_tensors(part)


def has_logits(output: Any) -> bool:
    """Whether it is an object of another kind whose attributes are a module's outputs, logits among them."""
    return "logits" in getattr(output, "__dict__", ())


def _are_close(one: Tensor, other: Tensor, dim: int, rows: Tensor) -> bool:
    rows, tolerance = rows.to(one.device), _tolerance(one)
    one, other = (x.index_select(dim, rows).double() for x in (one, other.to(one.device)))
    finite = one.isfinite() & other.isfinite()
    one, other = one[finite], other[finite]
    if not len(one):
        return True
    return bool(((one - other).abs() <= float(one.abs().amax()) * tolerance).all())


def _is_part(part: Tensor, whole: Tensor) -> bool:
    """Whether one tensor is another one, or some of its rows that follow each other."""
    if part is whole:
        return True
    if not (part.dim() and whole.dim() and len(part)) or part.dtype != whole.dtype:
        return False
    if part.shape[1:] != whole.shape[1:] or len(part) > len(whole):
        return False
    rows, given = whole.detach().cpu(), part.detach().cpu()
    first = rows[: len(rows) - len(given) + 1] == given[0]
    starts = first.reshape(len(first), -1).all(1).nonzero()
    return any(torch.equal(rows[start : start + len(given)], given) for start in starts.flatten().tolist())


def _tolerance(x: Tensor) -> float:
    """Relative tolerance between results of different kernels: the square root of machine epsilon."""
    return math.sqrt(torch.finfo(x.dtype).eps) if x.is_floating_point() else 0.0


def _shorten(leaf: Any, length: int, cut: int) -> Any:
    """The tensor with every dimension of size ``length`` but the first cut to ``cut``."""
    if isinstance(leaf, Tensor):
        for dim in range(1, leaf.dim()):
            if leaf.shape[dim] == length:
                leaf = leaf.narrow(dim, 0, cut)
    return leaf
