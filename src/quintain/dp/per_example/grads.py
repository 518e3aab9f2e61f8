"""Representations of the per-example gradients of one parameter, each with its norms and weighted sum."""

from collections.abc import Iterable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from quintain.dp.per_example import cost_model, numerics
from quintain.dp.per_example.numerics import (
    apply_weights,
    batch_slices,
    concat_or_empty,
    flatten_examples,
    ghost_norm_and_scale,
    in_float64_on_overflow,
    position_norms,
    rowwise_dot,
    squared_norms_of_rows,
    sum_tensors,
    zero_rows,
)


class PerExampleGrads(Protocol):
    """The gradients :math:`G_i` of B examples with respect to one parameter."""

    @property
    def shape(self) -> torch.Size:
        """The parameter's shape."""

    def squared_norms(self) -> Tensor:
        """Squared Euclidean norms, (B,) float64.

        Never below those of what ``add_weighted_sum_to`` adds, whatever the order of summation.
        """

    def add_weighted_sum_to(self, into: Tensor, weights: Tensor, accumulate: bool = True) -> None:
        """Add the sum of all gradients, each times its weight (B,), to a contiguous tensor of the parameter's
        shape.

        Without ``accumulate`` it overwrites the tensor.
        """

    def plus(self, other: "PerExampleGrads") -> "PerExampleGrads":
        """The sum with other gradients of the same parameter, which was used twice."""

    def zeroed_where(self, mask: Tensor) -> "PerExampleGrads":
        """The same with the gradients of masked examples, (B,) bool, set to zero (zero times infinity would
        be NaN).
        """

    def to_dense(self) -> Tensor:
        """All gradients as one tensor, (B, *shape)."""

    def rounding_bound(self) -> Tensor | float:
        """Bound on how much the norm of what ``add_weighted_sum_to`` adds exceeds that of ``to_dense``, (B,).

        The norms differ since the two sum in another order.
        """


class DenseGrads:
    """Materialized gradients, one tensor for all examples.

    Args:
        rows: (B, *shape).
    """

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows

    @property
    def shape(self) -> torch.Size:
        return self.rows.shape[1:]

    def squared_norms(self) -> Tensor:
        return squared_norms_of_rows(self.rows)

    def add_weighted_sum_to(self, into: Tensor, weights: Tensor, accumulate: bool = True) -> None:
        # sum_i w_i G_i as one matrix-vector product
        into.view(-1).addmv_(
            flatten_examples(self.rows).mT, weights.to(self.rows.dtype), beta=int(accumulate)
        )

    def plus(self, other: PerExampleGrads) -> PerExampleGrads:
        return DenseGrads(self.rows + other.to_dense())

    def zeroed_where(self, mask: Tensor) -> PerExampleGrads:
        return DenseGrads(zero_rows(self.rows, mask))

    def to_dense(self) -> Tensor:
        return self.rows

    def rounding_bound(self) -> float:
        return 0.0


class OuterProductGrads:
    r"""Gradients of a matrix as sums over positions, :math:`G_i = \sum_t g_{it} a_{it}^\top`.

    The norm is that of one product, the ghost norm :math:`\langle A_i A_i^\top, G_i G_i^\top \rangle`, or
    that of the gradients materialized a slice of the batch at a time, whichever costs less. With more than
    one position it is raised by its worst rounding error, since positions may cancel.

    Args:
        a: Inputs (B, T, inputs).
        g: Gradients at the outputs (B, T, outputs).

    Source: Goodfellow, 2015, arXiv:1510.01799; Li et al., 2021, arXiv:2110.05679; Bu et al., 2022,
    arXiv:2210.00038.
    """

    def __init__(self, a: Tensor, g: Tensor) -> None:
        self.a, self.g = a, g

    @property
    def shape(self) -> torch.Size:
        return torch.Size((self.g.shape[2], self.a.shape[2]))

    def squared_norms(self) -> Tensor:
        batch, positions, inputs = self.a.shape
        if positions == 1:  # the norm of g a^T is the product of the norms
            return squared_norms_of_rows(self.a) * squared_norms_of_rows(self.g)
        outputs = self.g.shape[2]
        if not cost_model.ghost_norm_is_cheaper(positions, inputs, outputs):
            # materialized a slice at a time; norms are raised by what another order of summation can add
            norms = [
                squared_norms_of_rows(torch.bmm(self.g[cut].mT, self.a[cut]))
                for cut in batch_slices(batch, inputs * outputs)
            ]
            return (concat_or_empty(norms, self.a).sqrt() + self.rounding_bound()).square()

        def ghost_norms(a: Tensor, g: Tensor) -> Tensor:
            return ghost_norm_and_scale(torch.bmm(a, a.mT), torch.bmm(g, g.mT))

        return self._with_rounding_margin(
            in_float64_on_overflow(ghost_norms, self.a[cut], self.g[cut])
            for cut in batch_slices(batch, 2 * positions**2)
        )

    def _with_rounding_margin(self, parts: Iterable[Tensor]) -> Tensor:
        """Return upper bounds on squared norms, from ``ghost_norm_and_scale`` of each slice of the batch."""
        batch, positions, inputs = self.a.shape
        rows = list(parts)
        unrounded, scale = (
            torch.cat(rows) if rows else self.a.new_zeros(batch, 2, dtype=torch.float64)
        ).unbind(1)
        # worst rounding of the ghost norm: (inputs + outputs + positions) additions, each relative to
        # (sum_t |a_t| |g_t|)^2, which is at least every partial sum; and underflow
        terms = inputs + self.g.shape[2] + positions
        finfo = torch.finfo(self.a.dtype)
        return unrounded.clamp(min=0) + terms * (finfo.eps * scale.square() + finfo.tiny * scale + finfo.tiny)

    def norm_without_cancellation(self) -> Tensor:
        """The norms that there would be if no positions cancelled, sum_t |a_t| |g_t|, (B,) float64."""
        return rowwise_dot(position_norms(self.a), position_norms(self.g))

    def add_weighted_sum_to(self, into: Tensor, weights: Tensor, accumulate: bool = True) -> None:
        # sum_i w_i sum_t g_it a_it^T as one matmul over B * T rows; sequence-first tensors are read in their
        # own order, without a copy
        sides = apply_weights(self.a, self.g, weights)
        if all(x.transpose(0, 1).is_contiguous() for x in sides):
            sides = sides[0].transpose(0, 1), sides[1].transpose(0, 1)
        a, g = (x.flatten(0, 1) for x in sides)
        into.addmm_(g.mT, a, beta=int(accumulate))

    def plus(self, other: PerExampleGrads) -> PerExampleGrads:
        if isinstance(other, OuterProductGrads):
            return OuterProductGrads(torch.cat([self.a, other.a], 1), torch.cat([self.g, other.g], 1))
        return SummedGrads((self, other))

    def zeroed_where(self, mask: Tensor) -> PerExampleGrads:
        return OuterProductGrads(zero_rows(self.a, mask), zero_rows(self.g, mask))

    def to_dense(self) -> Tensor:
        return torch.bmm(self.g.mT, self.a)

    def rounding_bound(self) -> Tensor:
        return self.a.shape[1] * torch.finfo(self.a.dtype).eps * self.norm_without_cancellation()


class TableRowGrads:
    """Gradients of an embedding table: for each example a few rows of the table, each at most once.

    Args:
        example: The example that each row belongs to, (N,).
        table_row: The index of the row in the table, (N,).
        gradient: Gradient of each row, (N, width).
        batch: Number of examples, B.
        shape: Of the table.
    """

    def __init__(
        self, example: Tensor, table_row: Tensor, gradient: Tensor, batch: int, shape: torch.Size
    ) -> None:
        self.example, self.table_row, self.gradient, self.batch, self.shape = (
            example,
            table_row,
            gradient,
            batch,
            shape,
        )

    @classmethod
    def from_ids(cls, ids: Tensor, gradient: Tensor, shape: torch.Size) -> "TableRowGrads":
        """Make them from ids (B, T) and their gradients (B, T, width).

        Gradients of ids that an example repeats are added.
        """
        example = torch.arange(len(ids), device=ids.device)[:, None].expand_as(ids)
        return cls.from_repeated_rows(
            example.flatten(), ids.flatten(), gradient.flatten(0, 1), len(ids), shape
        )

    @classmethod
    def from_repeated_rows(
        cls, example: Tensor, table_row: Tensor, gradient: Tensor, batch: int, shape: torch.Size
    ) -> "TableRowGrads":
        """From rows of which an example may have several with one index; these are added."""
        # one key for each (example, table row): rows that an example uses twice are added before any norm
        unique, place = (example * shape[0] + table_row).unique(return_inverse=True)
        summed = gradient.new_zeros(len(unique), shape[1]).index_add(0, place, gradient)
        return cls(unique // shape[0], unique % shape[0], summed, batch, shape)

    def squared_norms(self) -> Tensor:
        result = torch.zeros(self.batch, dtype=torch.float64, device=self.gradient.device)
        return result.index_add(0, self.example, squared_norms_of_rows(self.gradient))

    def add_weighted_sum_to(self, into: Tensor, weights: Tensor, accumulate: bool = True) -> None:
        if not accumulate:
            into.zero_()
        into.index_add_(0, self.table_row, self.gradient * weights.to(into.dtype)[self.example, None])

    def plus(self, other: PerExampleGrads) -> PerExampleGrads:
        if not isinstance(other, TableRowGrads):
            return SummedGrads((self, other))
        joint = [
            torch.cat([getattr(part, name) for part in (self, other)])
            for name in ("example", "table_row", "gradient")
        ]
        return TableRowGrads.from_repeated_rows(joint[0], joint[1], joint[2], self.batch, self.shape)

    def zeroed_where(self, mask: Tensor) -> PerExampleGrads:
        return TableRowGrads(
            self.example, self.table_row, zero_rows(self.gradient, mask[self.example]), self.batch, self.shape
        )

    def to_dense(self) -> Tensor:
        table = self.gradient.new_zeros(self.batch, *self.shape)
        table[self.example, self.table_row] = self.gradient
        return table

    def rounding_bound(self) -> float:
        return 0.0


class BlockGrads:
    """Gradients of a parameter whose first dimension is split into parts, such as stacked projections.

    Args:
        parts: Gradients of each part of the rows, in order.
    """

    def __init__(self, parts: Sequence[PerExampleGrads]) -> None:
        self.parts = tuple(parts)

    @property
    def shape(self) -> torch.Size:
        return torch.Size((sum(part.shape[0] for part in self.parts), *self.parts[0].shape[1:]))

    def squared_norms(self) -> Tensor:
        return sum_tensors(part.squared_norms() for part in self.parts)

    def add_weighted_sum_to(self, into: Tensor, weights: Tensor, accumulate: bool = True) -> None:
        # each part writes its own rows of the parameter
        for part, rows in zip(self.parts, into.split([part.shape[0] for part in self.parts]), strict=True):
            part.add_weighted_sum_to(rows, weights, accumulate)

    def plus(self, other: PerExampleGrads) -> PerExampleGrads:
        if isinstance(other, BlockGrads) and [part.shape for part in other.parts] == [
            part.shape for part in self.parts
        ]:
            return BlockGrads([mine.plus(its) for mine, its in zip(self.parts, other.parts, strict=True)])
        return SummedGrads((self, other))

    def zeroed_where(self, mask: Tensor) -> PerExampleGrads:
        return BlockGrads([part.zeroed_where(mask) for part in self.parts])

    def to_dense(self) -> Tensor:
        return torch.cat([part.to_dense() for part in self.parts], 1)

    def rounding_bound(self) -> Tensor | float:
        return sum(part.rounding_bound() for part in self.parts)


class SummedGrads:
    r"""Gradients of a parameter that several layers use, such as an embedding tied to the last layer.

    .. math:: \|E_i + L_i\|^2 = \|E_i\|^2 + \|L_i\|^2 + 2 \langle E_i, L_i \rangle

    The plain sum of squared norms would be too small by a factor of up to the number of uses.

    Args:
        parts: At least two.
    """

    def __init__(self, parts: Sequence[PerExampleGrads]) -> None:
        self.parts = tuple(parts)

    @property
    def shape(self) -> torch.Size:
        return self.parts[0].shape

    def squared_norms(self) -> Tensor:
        # a closed form for embedding and head (tied weights), else materialized; raised by the rounding of
        # all
        squared = (
            self._tied_squared_norms()
            if self._is_embedding_and_head()
            else squared_norms_of_rows(self.to_dense())
        )
        return (squared.sqrt() + self.rounding_bound()).square()

    def add_weighted_sum_to(self, into: Tensor, weights: Tensor, accumulate: bool = True) -> None:
        for part in self.parts:
            part.add_weighted_sum_to(into, weights, accumulate)
            accumulate = True

    def plus(self, other: PerExampleGrads) -> PerExampleGrads:
        for at, part in enumerate(self.parts):
            joined = part.plus(other)
            if not isinstance(joined, SummedGrads):
                return SummedGrads((*self.parts[:at], joined, *self.parts[at + 1 :]))
        return SummedGrads((*self.parts, other))

    def zeroed_where(self, mask: Tensor) -> PerExampleGrads:
        return SummedGrads([part.zeroed_where(mask) for part in self.parts])

    def to_dense(self) -> Tensor:
        return sum_tensors(part.to_dense() for part in self.parts)

    def rounding_bound(self) -> Tensor | float:
        return sum(part.rounding_bound() for part in self.parts)

    def _is_embedding_and_head(self) -> bool:
        return len(self.parts) == 2 and {type(part) for part in self.parts} == {
            TableRowGrads,
            OuterProductGrads,
        }

    def _tied_squared_norms(self) -> Tensor:
        """Squared norms for embedding rows e_u and outer products of a head, without a dense table.

        The inner product is the sum over table rows u and positions s of g_s[u] (e_u . a_s).
        """
        table, head = sorted(self.parts, key=lambda part: isinstance(part, OuterProductGrads))
        assert isinstance(table, TableRowGrads) and isinstance(head, OuterProductGrads)  # noqa: PT018
        size = max(1, numerics.MAX_WORKING_SET // max(1, head.a.shape[1] * head.a.shape[2]))
        cuts = [slice(start, start + size) for start in range(0, len(table.example), size)]

        def inner(a: Tensor, g: Tensor, e: Tensor) -> Tensor:
            result = torch.zeros(table.batch, dtype=torch.float64, device=a.device)
            for cut in cuts:
                example = table.example[cut]
                projected = torch.einsum("ntp,np->nt", a[example], e[cut])
                result.index_add_(
                    0, example, rowwise_dot(projected, g[example, :, table.table_row[cut]]).double()
                )
            return result

        inner_products = in_float64_on_overflow(inner, head.a, head.g, table.gradient)
        one, other = table.squared_norms(), head.squared_norms()
        total = one + other + 2 * inner_products
        # margin as for the ghost norm; an overflow counts as infinite, so that the example is dropped
        terms = sum(head.a.shape[1:]) + torch.bincount(table.example, minlength=table.batch)
        margin = (
            terms * torch.finfo(head.a.dtype).eps * (one.sqrt() + head.norm_without_cancellation()).square()
        )
        return torch.where(total.isfinite(), total.clamp(min=0), torch.inf) + margin
