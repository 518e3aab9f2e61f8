"""Gradients of single examples for one parameter, in the form that holds them in the least room: their norms, and their weighted sum."""

from collections.abc import Iterable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from quintain.dp.gradients import cost, numbers
from quintain.dp.gradients.numbers import cleared, crossed, dots, flat, in_range, joined, lengths, pieces, square, sum_of, weighted


class PerExample(Protocol):
    """The gradients :math:`G_i` of B examples for one parameter."""

    @property
    def shape(self) -> torch.Size:
        """Of the parameter."""

    def squared(self) -> Tensor:
        """Squared Euclidean norms, (B,) float64: never below those of what ``add_to`` adds up, whatever the order of summation."""

    def add_to(self, into: Tensor, weights: Tensor, beta: int = 1) -> None:
        """Add all, each times its weight (B,), to ``beta`` times a contiguous tensor of the parameter's shape; 0 overwrites."""

    def plus(self, other: "PerExample") -> "PerExample":
        """The gradients of a parameter that was used twice."""

    def without(self, gone: Tensor) -> "PerExample":
        """The same with those of some examples, (B,) bool, set to zero: zero times infinity would be NaN."""

    def dense(self) -> Tensor:
        """All of them, (B, *shape)."""

    def rounding(self) -> Tensor | float:
        """By how much, at most, the norm of what ``add_to`` adds up exceeds that of ``dense``: another order of summation, (B,)."""


class Dense:
    """Gradients that are there.

    Args:
        rows: (B, *shape).
    """

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows

    @property
    def shape(self) -> torch.Size:
        return self.rows.shape[1:]

    def squared(self) -> Tensor:
        return square(self.rows)

    def add_to(self, into: Tensor, weights: Tensor, beta: int = 1) -> None:
        into.view(-1).addmv_(flat(self.rows).mT, weights.to(self.rows.dtype), beta=beta)

    def plus(self, other: PerExample) -> PerExample:
        return Dense(self.rows + other.dense())

    def without(self, gone: Tensor) -> PerExample:
        return Dense(cleared(self.rows, gone))

    def dense(self) -> Tensor:
        return self.rows

    def rounding(self) -> float:
        return 0.0


class Outer:
    r"""Gradients of a matrix that are sums of outer products over positions, :math:`G_i = \sum_t g_{it} a_{it}^\top`.

    The norm is that of one product, or :math:`\langle A_i A_i^\top, G_i G_i^\top \rangle` (ghost norm), or of the gradients built in
    pieces, whichever costs less; with more than one position it is raised by its worst rounding error, for positions that cancel.

    Args:
        a: Inputs (B, T, inputs).
        g: Gradients at the outputs (B, T, outputs).

    Source: Goodfellow, 2015, arXiv:1510.01799; Li et al., 2021, arXiv:2110.05679; Bu et al., 2022, arXiv:2210.00038.
    """

    def __init__(self, a: Tensor, g: Tensor) -> None:
        self.a, self.g = a, g

    @property
    def shape(self) -> torch.Size:
        return torch.Size((self.g.shape[2], self.a.shape[2]))

    def squared(self) -> Tensor:
        batch, positions, inputs = self.a.shape
        if positions == 1:
            return square(self.a) * square(self.g)
        outputs = self.g.shape[2]
        if not cost.ghost(positions, inputs, outputs):
            built = [square(torch.bmm(self.g[cut].mT, self.a[cut])) for cut in pieces(batch, inputs * outputs)]
            return (joined(built, self.a).sqrt() + self.rounding()).square()

        def products(a: Tensor, g: Tensor) -> Tensor:
            return crossed(torch.bmm(a, a.mT), torch.bmm(g, g.mT))

        return self.raised(in_range(products, self.a[cut], self.g[cut]) for cut in pieces(batch, 2 * positions**2))

    def raised(self, found: Iterable[Tensor]) -> Tensor:
        """Squared norms from what ``crossed`` gave for the pieces of the batch, no less than the true ones."""
        batch, positions, inputs = self.a.shape
        rows = list(found)
        quick, reach = (torch.cat(rows) if rows else self.a.new_zeros(batch, 2, dtype=torch.float64)).unbind(1)
        terms = inputs + self.g.shape[2] + positions
        precision = torch.finfo(self.a.dtype)
        return quick.clamp(min=0) + terms * (precision.eps * reach.square() + precision.tiny * reach + precision.tiny)

    def reach(self) -> Tensor:
        """Sum over the positions of the norms of their products, (B,) float64: what the norm could be if none cancelled."""
        return dots(lengths(self.a), lengths(self.g))

    def add_to(self, into: Tensor, weights: Tensor, beta: int = 1) -> None:
        sides = weighted(self.a, self.g, weights)
        if all(x.transpose(0, 1).is_contiguous() for x in sides):
            sides = sides[0].transpose(0, 1), sides[1].transpose(0, 1)
        a, g = (x.flatten(0, 1) for x in sides)
        into.addmm_(g.mT, a, beta=beta)

    def plus(self, other: PerExample) -> PerExample:
        if isinstance(other, Outer):
            return Outer(torch.cat([self.a, other.a], 1), torch.cat([self.g, other.g], 1))
        return Sum((self, other))

    def without(self, gone: Tensor) -> PerExample:
        return Outer(cleared(self.a, gone), cleared(self.g, gone))

    def dense(self) -> Tensor:
        return torch.bmm(self.g.mT, self.a)

    def rounding(self) -> Tensor:
        return self.a.shape[1] * torch.finfo(self.a.dtype).eps * self.reach()


class Rows:
    """Gradients of a table: of each example, a few of its rows, each once.

    Args:
        owner: The example that each belongs to, (N,).
        row: Its place in the table, (N,).
        gradient: (N, width).
        batch: B.
        shape: Of the table.
    """

    def __init__(self, owner: Tensor, row: Tensor, gradient: Tensor, batch: int, shape: torch.Size) -> None:
        self.owner, self.row, self.gradient, self.batch, self.shape = owner, row, gradient, batch, shape

    @classmethod
    def of(cls, ids: Tensor, gradient: Tensor, shape: torch.Size) -> "Rows":
        """From ids (B, T) and their gradients (B, T, width); those of an id that an example repeats are added."""
        owner = torch.arange(len(ids), device=ids.device)[:, None].expand_as(ids)
        return cls.merged(owner.flatten(), ids.flatten(), gradient.flatten(0, 1), len(ids), shape)

    @classmethod
    def merged(cls, owner: Tensor, row: Tensor, gradient: Tensor, batch: int, shape: torch.Size) -> "Rows":
        """From rows that an example may have more than once: these are added."""
        unique, place = (owner * shape[0] + row).unique(return_inverse=True)
        summed = gradient.new_zeros(len(unique), shape[1]).index_add(0, place, gradient)
        return cls(unique // shape[0], unique % shape[0], summed, batch, shape)

    def squared(self) -> Tensor:
        result = torch.zeros(self.batch, dtype=torch.float64, device=self.gradient.device)
        return result.index_add(0, self.owner, square(self.gradient))

    def add_to(self, into: Tensor, weights: Tensor, beta: int = 1) -> None:
        if not beta:
            into.zero_()
        into.index_add_(0, self.row, self.gradient * weights.to(into.dtype)[self.owner, None])

    def plus(self, other: PerExample) -> PerExample:
        if not isinstance(other, Rows):
            return Sum((self, other))
        joint = [torch.cat([getattr(part, name) for part in (self, other)]) for name in ("owner", "row", "gradient")]
        return Rows.merged(joint[0], joint[1], joint[2], self.batch, self.shape)

    def without(self, gone: Tensor) -> PerExample:
        return Rows(self.owner, self.row, cleared(self.gradient, gone[self.owner]), self.batch, self.shape)

    def dense(self) -> Tensor:
        table = self.gradient.new_zeros(self.batch, *self.shape)
        table[self.owner, self.row] = self.gradient
        return table

    def rounding(self) -> float:
        return 0.0


class Blocks:
    """Gradients of a parameter whose first dimension is cut into parts with gradients of their own, such as stacked projections.

    Args:
        parts: Each for its share of the rows, in order.
    """

    def __init__(self, parts: Sequence[PerExample]) -> None:
        self.parts = tuple(parts)

    @property
    def shape(self) -> torch.Size:
        return torch.Size((sum(part.shape[0] for part in self.parts), *self.parts[0].shape[1:]))

    def squared(self) -> Tensor:
        return sum_of(part.squared() for part in self.parts)

    def add_to(self, into: Tensor, weights: Tensor, beta: int = 1) -> None:
        for part, rows in zip(self.parts, into.split([part.shape[0] for part in self.parts]), strict=True):
            part.add_to(rows, weights, beta)

    def plus(self, other: PerExample) -> PerExample:
        if isinstance(other, Blocks) and [part.shape for part in other.parts] == [part.shape for part in self.parts]:
            return Blocks([mine.plus(its) for mine, its in zip(self.parts, other.parts, strict=True)])
        return Sum((self, other))

    def without(self, gone: Tensor) -> PerExample:
        return Blocks([part.without(gone) for part in self.parts])

    def dense(self) -> Tensor:
        return torch.cat([part.dense() for part in self.parts], 1)

    def rounding(self) -> Tensor | float:
        return sum(part.rounding() for part in self.parts)


class Sum:
    r"""Gradients of a parameter that several layers use in different ways, such as an embedding tied to the last layer.

    .. math:: \|E_i + L_i\|^2 = \|E_i\|^2 + \|L_i\|^2 + 2 \langle E_i, L_i \rangle

    The naive sum of squared norms is too small by up to the number of uses.

    Args:
        parts: At least two.
    """

    def __init__(self, parts: Sequence[PerExample]) -> None:
        self.parts = tuple(parts)

    @property
    def shape(self) -> torch.Size:
        return self.parts[0].shape

    def squared(self) -> Tensor:
        quick = self._tied() if self._table() else square(self.dense())
        return (quick.sqrt() + self.rounding()).square()

    def add_to(self, into: Tensor, weights: Tensor, beta: int = 1) -> None:
        for part in self.parts:
            part.add_to(into, weights, beta)
            beta = 1

    def plus(self, other: PerExample) -> PerExample:
        for at, part in enumerate(self.parts):
            joined = part.plus(other)
            if not isinstance(joined, Sum):
                return Sum((*self.parts[:at], joined, *self.parts[at + 1 :]))
        return Sum((*self.parts, other))

    def without(self, gone: Tensor) -> PerExample:
        return Sum([part.without(gone) for part in self.parts])

    def dense(self) -> Tensor:
        return sum_of(part.dense() for part in self.parts)

    def rounding(self) -> Tensor | float:
        return sum(part.rounding() for part in self.parts)

    def _table(self) -> bool:
        return len(self.parts) == 2 and {type(part) for part in self.parts} == {Rows, Outer}

    def _tied(self) -> Tensor:
        """Of rows e_u of a table, and outer products: the inner product is the sum of (g_s[u]) (e_u . a_s)."""
        table, head = sorted(self.parts, key=lambda part: isinstance(part, Outer))
        assert isinstance(table, Rows) and isinstance(head, Outer)  # noqa: PT018
        size = max(1, numbers.KEPT // max(1, head.a.shape[1] * head.a.shape[2]))
        cuts = [slice(start, start + size) for start in range(0, len(table.owner), size)]

        def inner(a: Tensor, g: Tensor, e: Tensor) -> Tensor:
            result = torch.zeros(table.batch, dtype=torch.float64, device=a.device)
            for cut in cuts:
                owner = table.owner[cut]
                along = torch.einsum("ntp,np->nt", a[owner], e[cut])
                result.index_add_(0, owner, dots(along, g[owner, :, table.row[cut]]).double())
            return result

        across = in_range(inner, head.a, head.g, table.gradient)
        one, other = table.squared(), head.squared()
        total = one + other + 2 * across
        terms = sum(head.a.shape[1:]) + torch.bincount(table.owner, minlength=table.batch)
        slack = terms * torch.finfo(head.a.dtype).eps * (one.sqrt() + head.reach()).square()
        return torch.where(total.isfinite(), total.clamp(min=0), torch.inf) + slack
