"""Reruns of the module on other rows: whether outputs of an example, or a loss inside, depend on others."""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from quintain.core.errors import PrivacyError
from quintain.dp.capture.batch_dim import batch_dim_of
from quintain.dp.capture.hooks import Capture
from quintain.dp.capture.output_tensors import iter_tensors
from quintain.dp.capture.rerun_state import WithoutDropout, restore_module_state
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

    Attributes:
        leaves: The arguments of the real pass, flat.
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
        self._capture, self._real_outputs, self._rng_before, self.batch_size, self.batch_dim = (
            capture,
            outputs,
            rng_before,
            batch_size,
            batch_dim,
        )
        self._halves, self._rng_after = halves, rng_before
        self.leaves, self._tree_spec = tree_flatten(call)

    def check_rows_are_the_loaders(self, batch: Any) -> str:
        """Whether the module's inputs are the batch as the loader yielded it, or consecutive rows of it."""
        yielded = [x for x in tree_flatten(batch)[0] if isinstance(x, Tensor)]
        given = [leaf for leaf in self.leaves if self.holds_batch(leaf)]
        if given and all(any(_is_part(leaf, x) for x in yielded) for leaf in given):
            return NO_DEPENDENCE
        return NOT_LOADERS_ROWS

    def check_replaced_rows(self) -> str:
        """Check whether outputs of half of the examples depend on the other half.

        The other half is replaced by stretched rows.

        Raises:
            PrivacyError: If they do.
        """
        if not any(self.holds_batch(leaf) for leaf in self.leaves):
            return f"not checked: no input has the batch as dimension {self.batch_dim}"
        answer = NO_DEPENDENCE
        one, other = self._halves
        for changed, others, stretch in ((one, other, STRETCH), (other, one, -STRETCH)):
            leaves = self._inputs_with_rows_replaced(
                changed, others[torch.arange(len(changed)) % len(others)], stretch
            )
            outputs = self.rerun(leaves)
            if outputs is None:
                return "not checked: the module does not take other rows"
            real = self._batch_outputs(self._real_outputs)
            if not self.rows_agree(real, outputs, others):
                doubt = self._confirm_dependence(leaves, others)
                if doubt is not None:
                    return doubt
            if self.rows_agree(real, outputs, changed):
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
        every = torch.arange(self.batch_size)
        for sources in (
            every.roll(-1),
            torch.zeros_like(every),
            torch.full_like(every, self.batch_size - 1),
        ):
            found = [
                self._scalar_losses(
                    self.rerun(
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

    def _confirm_dependence(self, leaves: list[Any], others: Tensor) -> str | None:
        """Raise if outputs differ for no other reason than the rows.

        Else return what cannot be known, if anything.
        """
        once, again = (
            self.rerun(self.leaves, without_dropout=True),
            self.rerun(self.leaves, without_dropout=True),
        )
        ended = self._rng_after
        changed = self.rerun(leaves, without_dropout=True)
        if once is None or again is None or changed is None:
            return "not checked: the module does not take other rows"
        one = self._batch_outputs(once)
        if not self.rows_agree(one, again, others):
            return "not checked: the module gives other outputs when it runs again on the same rows"
        if not self.rows_agree(one, changed, others):
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
            self._replace_rows(leaf, changed, sources, stretch) if self.holds_batch(leaf) else leaf
            for leaf in self.leaves
        ]

    def _replace_rows(self, leaf: Tensor, changed: Tensor, sources: Tensor, stretch: float) -> Tensor:
        leaf = leaf.detach()
        dim = batch_dim_of(leaf, self.batch_dim)
        other = leaf.index_select(dim, sources.to(leaf.device))
        if leaf.is_floating_point():
            whole = (leaf == leaf.round()).all(dim, keepdim=True)
            other = torch.where(whole, other, other * stretch)
        return leaf.index_copy(dim, changed.to(leaf.device), other)

    def holds_batch(self, leaf: Any) -> bool:
        """Whether it is a tensor of one row an example."""
        return (
            isinstance(leaf, Tensor)
            and leaf.dim() > 0
            and leaf.shape[batch_dim_of(leaf, self.batch_dim)] == self.batch_size
        )

    def _batch_outputs(self, output: Any) -> list[Tensor]:
        return [x.detach() for x in iter_tensors(output) if self.holds_batch(x) and x.is_floating_point()]

    def rows_agree(self, real: Sequence[Tensor], output: Any, rows: Tensor) -> bool:
        """Whether these rows of all outputs are equal up to rounding."""
        again = [x.detach() for x in iter_tensors(output) if x.is_floating_point() and x.dim()]
        again = (
            [x for x in again if any(x.shape == y.shape for y in real)] if len(again) != len(real) else again
        )
        return len(real) == len(again) and all(
            x.shape == y.shape and _are_close(x, y, batch_dim_of(x, self.batch_dim), rows)
            for x, y in zip(real, again, strict=True)
        )

    def rerun(self, leaves: list[Any], *, evaluate: bool = False, without_dropout: bool = False) -> Any:
        """The module's outputs for these inputs, with the same random numbers; None if the module raises."""
        # copies: the module may write into what it gets, and these rows are given again
        copies = [leaf.detach().clone() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        args, kwargs = tree_unflatten(copies, self._tree_spec)
        after = GeneratorStates.now()
        mode = WithoutDropout() if without_dropout else nullcontext()
        with torch.no_grad(), self._capture.pause(), restore_module_state(self._capture.root), mode:
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
