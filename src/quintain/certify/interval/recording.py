"""A record of the operations of one pass of intervals, which linear bounds follow back to the input."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

AffineMap = Callable[..., Tensor]
"""``values, ... -> values``, affine in all of them together, in the type of the bounds."""


class Lines(NamedTuple):
    r"""Two lines for each output of a nonlinear layer, between which it lies for inputs inside their bounds.

    .. math:: s_i h_{k(i)} + c_i \;\le\; f_i(h) \;\le\; S_i h_{k(i)} + C_i

    Args:
        lower_slope, lower_intercept, upper_slope, upper_intercept: s, c, S, C (B, *S).
        position: k, where each output's input is among the inputs of the example, flattened (B, *S); None
            where each output has its own.
    """

    lower_slope: Tensor
    lower_intercept: Tensor
    upper_slope: Tensor
    upper_intercept: Tensor
    position: Tensor | None = None

    def to(self, dtype: torch.dtype) -> "Lines":
        """Return the lines in another type."""
        # rounded to nearest: in a narrower type the lines no longer prove anything
        lower, low, upper, high = (part.to(dtype) for part in self[:4])
        return type(self)(lower, low, upper, high, self.position)

    @property
    def loose(self) -> Tensor:
        """Where the two lines are not one (B, *S), so that narrower bounds of the input could help."""
        # equal lines are the layer itself there, such as ReLU of what is never negative
        return (self.lower_slope != self.upper_slope) | (self.lower_intercept != self.upper_intercept)


class ReLULines(Lines):
    """Lines of max(h, 0), which the sign of its input settles."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    r"""One operation of a net, bounded by ``affine(sources) + e`` or two lines plus e, :math:`|e| \le error`.

    Args:
        recording: The record that it belongs to.
        index: Its number there, from 0 on; its sources have smaller ones.
        sources: The operations that compute what it is given; none for the input.
        affine: What it computes in exact arithmetic; None for the identity and for what has lines.
        lines: Of a nonlinear layer, over the bounds of its input.
        error: How far what the deployed model returns may lie from that (B, *S).
        terms: Sum of the absolute values of what each number is a sum of (B, *S).
        mixes: Whether it adds several numbers up, so that intervals lose what these have in common.
    """

    recording: "Recording"
    index: int
    sources: "tuple[Operation, ...]"
    affine: AffineMap | None
    lines: Lines | None
    error: Tensor
    terms: Tensor
    mixes: bool = False


Refinement = Callable[[Operation, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""``(operation, lower, upper, loose) -> (lower, upper)``: narrower bounds of an operation's values (B, *S),
those that are ``loose`` at least.
"""


class Recording:
    """The operations of one pass of intervals, in the order in which they were computed.

    Args:
        refine: Narrows the bounds of what a nonlinear layer is given, before its lines are drawn.

    Attributes:
        layers: The layers of a net that operations are the last ones of, by the operations' indices.
    """

    def __init__(self, refine: Refinement | None = None) -> None:
        self.refine = refine
        self.operations: list[Operation] = []
        self.layers: dict[int, nn.Module] = {}

    def add_input(self, terms: Tensor) -> Operation:
        """Record the input, of absolute values of at most ``terms`` (B, *S)."""
        # what the adversary chooses is exact; the cast to the model's type is an operation after it
        return self._append((), None, None, torch.zeros_like(terms), terms)

    def add_affine(
        self,
        sources: tuple[Operation, ...],
        affine: AffineMap | None,
        error: Tensor,
        terms: Tensor,
        *,
        mixes: bool,
    ) -> Operation:
        """Record an affine operation."""
        return self._append(sources, affine, None, error, terms, mixes=mixes)

    def add_lines(self, source: Operation, lines: Lines, error: Tensor, terms: Tensor) -> Operation:
        """Record a nonlinear layer by lines that hold over the bounds of its input."""
        return self._append((source,), None, lines, error, terms)

    def _append(
        self,
        sources: tuple[Operation, ...],
        affine: AffineMap | None,
        lines: Lines | None,
        error: Tensor,
        terms: Tensor,
        *,
        mixes: bool = False,
    ) -> Operation:
        # operations stand in the order of computation, so that each one's sources have smaller indices and a
        # walk from the last to the first meets an operation after all that it feeds
        made = Operation(
            self,
            len(self.operations),
            sources,
            affine=affine,
            lines=lines,
            error=error,
            terms=terms,
            mixes=mixes,
        )
        self.operations.append(made)
        return made
