r"""Linear bounds, backward from an operation to the input (CROWN), sound for the model and in float64.

The deployed model's values v keep to :math:`v_k = f_k(v) + e_k` with :math:`|e_k| \le s_k`. Rows A over an
operation's values are carried back,

.. math:: A v_k \;\ge\; A f_k(v) - |A| s_k, \qquad
    A f_k(v) = (A J_k) v + A b_k \;\text{ or }\; \ge (A^+ \!\cdot s + A^- \!\cdot S) v + A^+ c + A^- C

for affine f, whose A J comes from autograd, and for lines s h + c <= f(h) <= S h + C. At the input, A x is
minimized over the threat.

Float64 rounds all of that. A sum of n products errs by at most gamma_n times the sum of absolute values
(Higham), so that with n at least the number of products in each sum of A J, A b and A c,

.. math:: |fl(AJ) - AJ|\,|v| + |fl(Ab) - Ab| \le \gamma_n |A|\, (|J||v| + |b|) = \gamma_n |A|\, terms_k.

Hence one more error beside s_k, of :math:`8 n\, 2^{-53}\, terms_k`, pays for it; the factor of 8 is for the
lines' own rounding and that of the final sums. ``terms`` at the input pays for the minimum over the threat.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from quintain.certify.interval.recording import AffineMap, Operation, Recording
from quintain.certify.linear.sign_splits import SignSplits
from quintain.certify.linear.windows import WindowedTable, Windows, WindowStep
from quintain.certify.rounding import FLOAT64_SAFETY_FACTOR

ROW_ELEMENTS = 2**18
"""Numbers in the rows of one pass (2 MiB, of a cache): more rows are cut into several."""

TABLE_ELEMENTS = 2**23
"""Largest number of elements of a Jacobian that is kept for all examples (64 MiB)."""

SUM_ALLOWANCE = 1 + 2.0**-20
"""Factor on what is charged, whose own sums, of fewer than 2^30 numbers that are not negative, round."""

GRAPHS = 8
"""Batch sizes for which the graph of an operation is kept."""

UNDERFLOW = 2.0**-1020
"""What one product or partial sum may lose below the smallest normal number of float64, four times over."""

VJP = Callable[[Tensor], tuple[Tensor, ...]]
"""Rows (N, *S) over an operation's values to rows over those of each source."""


class Minimum(Protocol):
    """The least values of linear functions of one input over the threat."""

    def __call__(self, rows: Tensor, *, columns: Tensor | None = None) -> Tensor:
        """Return a lower bound of each row (N,), of (N, *S) or of (N, W) at ``columns`` (N, W)."""


class Tables:
    """What all examples of a net have in common: Jacobians of affine operations, whole and by windows.

    Args:
        windowed: Whether rows are cut down to windows where these are small.
    """

    def __init__(self, *, windowed: bool = True) -> None:
        self.is_windowed = windowed
        self.jacobians: dict[int, tuple[Tensor, Tensor]] = {}
        self.products: dict[int, tuple[Tensor, VJP] | None] = {}
        self.starts: dict[int, WindowedTable | None] = {}
        self.steps: dict[tuple[int, int], WindowStep | None] = {}

    def start(self, index: int) -> WindowedTable | None:
        """Return the windows of the Jacobian of an operation, if there are any."""
        if index not in self.starts:
            jacobian = self.jacobians[index][1].flatten(1)
            self.starts[index] = WindowedTable.of(jacobian) if self.is_windowed else None
        return self.starts[index]

    def step(self, start: int, index: int, windows: Windows) -> WindowStep | None:
        """Return the step of windows that began at the operation ``start`` back through another."""
        if (start, index) not in self.steps:
            self.steps[start, index] = WindowStep.of(windows, self.jacobians[index][1].flatten(1))
        return self.steps[start, index]


class BackwardBounds:
    """Lower bounds of linear functions of the operations of one net, for one example at a time.

    Args:
        recording: The operations of one example; its first one is the input.
        minimum: Of linear functions over the threat.
        tables: Shared by all examples of a net.
    """

    def __init__(self, recording: Recording, minimum: Minimum, tables: Tables) -> None:
        self.recording, self.minimum, self.tables = recording, minimum, tables
        self._vjps: dict[int, tuple[Tensor, VJP]] = {}
        self._errors: dict[int, Tensor] = {}
        self._underflows: dict[tuple[int, int], Tensor] = {}

    def lower_in_parts(
        self,
        operation: Operation,
        rows: Tensor,
        splits: Mapping[Operation, SignSplits],
        seen: dict[Operation, Tensor] | None = None,
    ) -> Tensor:
        """Return lower bounds of ``row . values`` (N,), each over a part of the threat of its own.

        Differentiable in the slopes and multipliers of ``splits``, whatever these are.

        Args:
            operation: The operation.
            rows: Rows (N, *S) over its values.
            splits: By ReLU operation, the signs that make each part.
            seen: Filled with the rows over the values of each operation.
        """
        zeros = rows.new_zeros(len(rows))
        return self._back({operation: rows}, zeros, zeros, operation.index + 1, splits, seen)

    def lower(self, operation: Operation, rows: Tensor) -> Tensor:
        """Return lower bounds of ``row . values`` (N,), for rows (N, *S) over an operation's values."""
        size = max(1, ROW_ELEMENTS // max(one.terms.numel() for one in self.recording.operations))
        return torch.cat([self._lower(operation, part) for part in rows.split(size)])

    def narrow(
        self, operation: Operation, lower: Tensor, upper: Tensor, loose: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return lower and upper bounds (1, *S) of an operation's values where they are ``loose``."""
        wanted = loose.flatten().nonzero().squeeze(1)
        widest = max(one.terms.numel() for one in self.recording.operations)
        table = self._table(operation)
        windowed = self.tables.start(operation.index) if table is not None else None
        if windowed is not None:
            wanted = wanted[windowed.group[wanted].argsort(stable=True)]
            widest = windowed.values.shape[1]
        found = [
            self._both_sides(operation, part)
            if windowed is None
            else self._by_windows(operation, windowed, part)
            for part in wanted.split(max(1, ROW_ELEMENTS // (2 * widest)))
        ]
        low, high = (
            ends.flatten().index_put((wanted,), torch.cat(parts)).view_as(ends)
            for ends, parts in zip((lower, upper), zip(*found, strict=True), strict=True)
        )
        return low, high

    def _both_sides(self, operation: Operation, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Return lower and upper bounds of some values of an operation, by their positions (N,)."""
        shape, count = operation.terms.shape[1:], operation.terms.numel()
        table = self._table(operation)
        if table is None:
            ones = torch.zeros(len(numbers), count, dtype=torch.float64, device=numbers.device)
            ones[torch.arange(len(numbers), device=numbers.device), numbers] = 1.0
            bounds = self._lower(operation, torch.cat([ones, -ones]).view(-1, *shape))
        else:
            constant, jacobian = table
            picked, offset = jacobian[numbers], constant.flatten()[numbers]
            bounds = self._back(
                {operation.sources[0]: torch.cat([picked, -picked])},
                torch.cat([offset, -offset]),
                self._charge_of(operation, numbers).repeat(2),
                operation.index,
            )
        low, high = bounds.chunk(2)
        return low, -high

    def _charge_of(self, operation: Operation, numbers: Tensor) -> Tensor:
        """Return what some values of an operation are charged for by themselves (N,)."""
        return self._sum_error(operation).flatten()[numbers] + self._underflow(operation)

    def _by_windows(
        self, operation: Operation, table: WindowedTable, numbers: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return lower and upper bounds of some values of an operation (N,), in the order of their groups.

        As ``_back`` does, on rows (2, N, W) and their negatives over windows, as far as these stay small.
        """
        group, windows = table.group[numbers], table.windows
        rows = torch.stack([table.values[numbers], -table.values[numbers]])
        constant = self.tables.jacobians[operation.index][0].flatten()[numbers]
        total = torch.stack([constant, -constant])
        charge = self._charge_of(operation, numbers).expand(2, -1)

        def at_windows(values: Tensor) -> Tensor:
            return values.flatten()[windows.columns][group]

        current = operation.sources[0]
        while current.sources and len(current.sources) == 1:
            step = None
            if current.lines is not None and current.lines.position is not None:
                break
            if current.affine is not None:
                known = self._table(current)
                step = self.tables.step(operation.index, current.index, windows) if known else None
                if step is None or known is None:
                    break
                total = total + (rows * at_windows(known[0])).sum(2)
            charge = charge + (rows.abs() * at_windows(self._sum_error(current))).sum(2)
            charge = charge + self._underflow(current)
            if current.lines is not None:
                positive, negative = rows.clamp(min=0), rows.clamp(max=0)
                slopes, intercepts, upper_slopes, upper_intercepts = map(at_windows, current.lines[:4])
                total = total + (positive * intercepts + negative * upper_intercepts).sum(2)
                rows = positive * slopes + negative * upper_slopes
            elif step is not None:
                rows, windows = step.apply(rows, group), step.windows
            current = current.sources[0]
        if current.sources:
            spread = windows.scatter(rows, group).view(-1, *current.terms.shape[1:])
            bounds = self._back({current: spread}, total.flatten(), charge.flatten(), current.index + 1)
        else:
            charge = charge + (rows.abs() * at_windows(self._sum_error(current))).sum(2)
            charge = charge + self._underflow(current)
            least = self.minimum(rows.flatten(0, 1), columns=windows.columns[group].repeat(2, 1))
            bounds = total.flatten() + least - charge.flatten() * SUM_ALLOWANCE
        low, high = bounds.chunk(2)
        return low, -high

    def _lower(self, operation: Operation, rows: Tensor) -> Tensor:
        zeros = rows.new_zeros(len(rows))
        return self._back({operation: rows}, zeros, zeros, operation.index + 1)

    def _back(
        self,
        pending: dict[Operation, Tensor],
        total: Tensor,
        charge: Tensor,
        behind: int,
        splits: Mapping[Operation, SignSplits] | None = None,
        seen: dict[Operation, Tensor] | None = None,
    ) -> Tensor:
        """Carry rows back to the input, from the operations before index ``behind``.

        Args:
            pending: Rows (N, *S) over the values of operations.
            total, charge: What their sum has beside (N,), and what is to be taken off it for errors.
            splits, seen: As of ``lower_in_parts``.
        """
        for operation in reversed(self.recording.operations[:behind]):
            rows = pending.pop(operation, None)
            if rows is None:
                continue
            if seen is not None:
                seen[operation] = rows
            flat = rows.reshape(len(rows), -1)
            error = self._sum_error(operation).flatten()
            charge = charge + flat.abs() @ error + self._underflow(operation)
            if not operation.sources:
                total = total + self.minimum(rows)
                continue
            if operation.lines is not None:
                # the lower line where a row is positive, the upper line where it is negative
                positive, negative = flat.clamp(min=0), flat.clamp(max=0)
                lines = operation.lines
                source = operation.sources[0]
                if splits is not None and operation in splits:
                    flat, added = splits[operation].carry(lines, positive, negative)
                    # the sum with the multipliers rounds once more
                    charge = charge + flat.abs() @ (source.terms + source.error).flatten() * 2.0**-50
                    total, moved = total + added, flat.view_as(rows)
                else:
                    slopes, intercepts, upper_slopes, upper_intercepts = (one.flatten() for one in lines[:4])
                    total = total + positive @ intercepts + negative @ upper_intercepts
                    moved = torch.addcmul(positive * slopes, negative, upper_slopes).view_as(rows)
                if lines.position is not None:
                    spread = rows.new_zeros(len(rows), source.terms.numel())
                    moved = spread.scatter_add_(
                        1, lines.position.flatten().expand(len(rows), -1), moved.flatten(1)
                    ).view(-1, *source.terms.shape[1:])
                sent: Sequence[Tensor] = (moved,)
            elif operation.affine is None:
                sent = (rows,)
            else:
                constant, vjp = self._vjp(operation)
                sent = vjp(rows)
                total = total + flat @ constant.flatten()
            for source, part in zip(operation.sources, sent, strict=True):
                if source in pending:
                    part = pending[source] + part
                    # each sum of two rows rounds once more
                    charge = (
                        charge
                        + part.reshape(len(part), -1).abs()
                        @ (source.terms + source.error).flatten()
                        * 2.0**-50
                    )
                pending[source] = part
        return total - charge * SUM_ALLOWANCE

    def _sum_error(self, operation: Operation) -> Tensor:
        """Return what each value may be off by (1, *S): the model's rounding, and this bound's in float64."""
        found = self._errors.get(operation.index)
        if found is None:
            products = operation.terms.numel() + len(self.recording.operations) + 16
            own = FLOAT64_SAFETY_FACTOR * products * 2.0**-53
            found = self._errors[operation.index] = operation.error + own * operation.terms
        return found

    def _underflow(self, operation: Operation) -> Tensor:
        """Return what products with an operation's values lose below float64's smallest normal number."""
        count = len(self.recording.operations)
        found = self._underflows.get((operation.index, count))
        if found is None:
            products = sum(one.terms.numel() for one in self.recording.operations)
            found = UNDERFLOW * products * (1 + (operation.terms + operation.error).sum())
            self._underflows[operation.index, count] = found
        return found

    def _vjp(self, operation: Operation) -> tuple[Tensor, VJP]:
        """Return the constant of an affine operation, and its vector-Jacobian products of rows (N, *S)."""
        if operation.index not in self.tables.products:
            self.tables.products[operation.index] = self._product(operation)
        found = self.tables.products[operation.index] or self._vjps.get(operation.index)
        if found is None:
            found = self._vjps[operation.index] = _vjp_by_autograd(operation)
        return found

    def _product(self, operation: Operation) -> tuple[Tensor, VJP] | None:
        """Return what ``_vjp`` does by the Jacobian, where it is a dense matrix or the identity."""
        if len(operation.sources) != 1:
            return None
        (source,) = operation.sources
        if operation.mixes:
            # whether it is dense shows in its first row
            first = torch.zeros_like(operation.terms)
            first.view(-1)[:1] = 1.0
            (row,) = _vjp_by_autograd(operation)[1](first)
            if 2 * int((row != 0).sum()) < row.numel():
                return None
        elif operation.terms.numel() != source.terms.numel():
            return None
        table = self._table(operation)
        if table is None:
            return None
        constant, matrix = table[0], table[1].flatten(1)
        shape = source.terms.shape[1:]
        if operation.mixes:
            return constant, lambda rows: ((rows.flatten(1) @ matrix).view(-1, *shape),)
        if torch.equal(matrix, torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)):
            return constant, lambda rows: (rows.reshape(-1, *shape),)
        return None

    def _table(self, operation: Operation) -> tuple[Tensor, Tensor] | None:
        """Return constant and Jacobian (M, *S) of an affine operation, if that is of moderate size."""
        if operation.affine is None or len(operation.sources) != 1:
            return None
        count, shape = operation.terms.numel(), operation.terms.shape[1:]
        if count * operation.sources[0].terms.numel() > TABLE_ELEMENTS:
            return None
        if operation.index not in self.tables.jacobians:
            constant, vjp = _vjp_by_autograd(operation)
            parts = []
            for numbers in torch.arange(count, device=constant.device).split(256):
                ones = torch.zeros(len(numbers), count, dtype=constant.dtype, device=constant.device)
                ones[torch.arange(len(numbers), device=constant.device), numbers] = 1.0
                parts.append(vjp(ones.view(-1, *shape))[0])
            self.tables.jacobians[operation.index] = constant, torch.cat(parts)
        return self.tables.jacobians[operation.index]


def _vjp_by_autograd(operation: Operation) -> tuple[Tensor, VJP]:
    assert operation.affine is not None
    # float64's convolutions are no faster in batches
    of = affine_vjp if operation.terms.dtype == torch.float64 else batched_vjp
    return of(operation.affine, tuple(source.terms for source in operation.sources))


def affine_vjp(affine: AffineMap, sources: tuple[Tensor, ...]) -> tuple[Tensor, VJP]:
    """Return the constant (1, *S) of an affine map, and its vector-Jacobian products by autograd.

    Args:
        affine: The map.
        sources: Tensors of the shapes (1, *T) and the type of what it is given.
    """
    with torch.enable_grad():
        zeros = tuple(torch.zeros_like(source).requires_grad_() for source in sources)
        result = affine(*zeros)
    constant = result.detach()

    def back(rows: Tensor) -> tuple[Tensor, ...]:
        found = torch.autograd.grad(result, zeros, rows[:, None], retain_graph=True, is_grads_batched=True)
        return tuple(part.squeeze(1) for part in found)

    def forth(*values: Tensor) -> Tensor:
        return torch.vmap(lambda *parts: affine(*(part[None] for part in parts))[0])(*values) - constant

    return constant, lambda rows: _Pullback.apply(rows, back, forth)


def batched_vjp(affine: AffineMap, sources: tuple[Tensor, ...]) -> tuple[Tensor, VJP]:
    """Return what ``affine_vjp`` does, with rows as a batch of the map: faster in float32.

    Args:
        affine, sources: As of ``affine_vjp``.
    """
    constant, vjp = affine_vjp(affine, sources)
    graphs: dict[int, tuple[tuple[Tensor, ...], Tensor]] = {}

    def graph(count: int) -> tuple[tuple[Tensor, ...], Tensor]:
        if count not in graphs:
            if len(graphs) >= GRAPHS:
                graphs.clear()
            with torch.enable_grad():
                zeros = tuple(
                    source.new_zeros(count, *source.shape[1:]).requires_grad_() for source in sources
                )
                graphs[count] = zeros, affine(*zeros)
        return graphs[count]

    if graph(2)[1].shape != (2, *constant.shape[1:]):
        # written for one example
        return constant, vjp

    def back(rows: Tensor) -> tuple[Tensor, ...]:
        zeros, result = graph(len(rows))
        return torch.autograd.grad(result, zeros, rows, retain_graph=True)

    def forth(*values: Tensor) -> Tensor:
        return affine(*values) - constant

    return constant, lambda rows: _Pullback.apply(rows, back, forth)


class _Pullback(torch.autograd.Function):
    """The vector-Jacobian product of an affine map, whose derivative is the map's linear part."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, back: VJP, forth: Callable[..., Tensor]) -> tuple[Tensor, ...]:
        ctx.forth = forth
        return back(rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return ctx.forth(*gradients), None, None
