r"""Recurrent cells over whole sequences: forward, and the gradients at their gates backward.

Sequences lie side by side, step after step: rows (N, width), of which the first ``sizes[0]`` belong to step 0 and so on; the longest
sequences come first, so that a step's rows are the first of the step before. Gates are in torch's order.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
_tanh_backward = torch.ops.aten.tanh_backward.default


class Weights(NamedTuple):
    """Of one direction of one layer, on inputs and on states; biases are None together."""

    ih: Tensor
    hh: Tensor
    bias_ih: Tensor | None
    bias_hh: Tensor | None


class Ran(NamedTuple):
    """What a forward pass gives.

    Args:
        outputs: h of every step, (N, hidden).
        last: The states after each sequence's last step, each (B, hidden).
        before: h ahead of every step, (N, hidden).
        kept: For the backward pass.
    """

    outputs: Tensor
    last: tuple[Tensor, ...]
    before: Tensor
    kept: tuple[Tensor, ...]


class Back(NamedTuple):
    """What a backward pass gives.

    Args:
        ih: Gradients at the gates where inputs come in, (N, gates * hidden).
        hh: The same where states come in.
        first: Gradients of the first states.
    """

    ih: Tensor
    hh: Tensor
    first: tuple[Tensor, ...]


class Cell(Protocol):
    """One kind of recurrence."""

    def forward(self, x: Tensor, first: Sequence[Tensor], weights: Weights, sizes: Sequence[int], back: bool) -> Ran:
        """From inputs (N, width) and first states (B, hidden), from the last step to the first if ``back``."""

    def backward(self, ran: Ran, g: Tensor, last: Sequence[Tensor], weights: Weights, sizes: Sequence[int], back: bool) -> Back:
        """From the gradients of the outputs and of the last states."""


@dataclass(slots=True)
class State:
    """The rows of a state at one step: those of sequences that end are put by, those of sequences that begin are taken from ``first``."""

    first: Tensor
    now: Tensor
    ended: list[Tensor] = field(default_factory=list)

    @classmethod
    def of(cls, first: Tensor) -> "State":
        return cls(first, first[:0])

    def at(self, rows: int) -> Tensor:
        """Those of a step."""
        have = len(self.now)
        if rows < have:
            self.ended.append(self.now[rows:])
            self.now = self.now[:rows]
        elif rows > have:
            self.now = torch.cat([self.now, self.first[have:rows]])
        return self.now

    def last(self) -> Tensor:
        """Those of all sequences."""
        return torch.cat([self.now, *reversed(self.ended)])


@dataclass(frozen=True, slots=True)
class Lstm:
    r""":math:`c_t = f c_{t-1} + i g,\; h_t = o \tanh c_t`."""

    def forward(self, x: Tensor, first: Sequence[Tensor], weights: Weights, sizes: Sequence[int], back: bool) -> Ran:
        r"""One logistic function serves all gates, since :math:`\tanh a = 2 s(2 a) - 1`."""
        twice = x.new_tensor([1, 1, 2, 1]).repeat_interleave(weights.hh.shape[1])
        biases = (None if bias is None else bias * twice for bias in (weights.bias_ih, weights.bias_hh))
        weights = Weights(weights.ih * twice[:, None], weights.hh * twice[:, None], *biases)
        gates, hh = _entering(x, weights), weights.hh.mT.contiguous()
        outputs, curved = gates.new_empty(2, len(x), len(hh))
        h, c = (State.of(state) for state in first)
        before, cells = [], []
        for z, out, curve in _steps(sizes, back, gates, outputs, curved):
            before.append(h.at(len(z)))
            cells.append(c.at(len(z)))
            i, f, s, o = z.addmm_(before[-1], hh).sigmoid_().chunk(4, 1)
            c.now = torch.mul(f, cells[-1]).addcmul_(i, s, value=2).sub_(i)
            h.now = torch.mul(o, torch.tanh(c.now, out=curve), out=out)
        return Ran(outputs, (h.last(), c.last()), _joined(before, back), (gates, curved, _joined(cells, back)))

    def backward(self, ran: Ran, g: Tensor, last: Sequence[Tensor], weights: Weights, sizes: Sequence[int], back: bool) -> Back:
        r""":math:`dc_t = dc_{t+1} f_{t+1} + dh_t o (1 - \tanh^2 c_t)`; what ``dc`` and ``dh`` are multiplied by is worked out at once."""
        gates, curved, cells = ran.kept
        i, f, s, o = gates.chunk(4, 1)
        dz = torch.empty_like(gates)
        di, df, ds, do = dz.chunk(4, 1)
        _sigmoid_backward(2 * s - 1, i, grad_input=di)
        _sigmoid_backward(cells, f, grad_input=df)
        _sigmoid_backward(i, s, grad_input=ds).mul_(4)
        _sigmoid_backward(curved, o, grad_input=do)
        dh, dc = (State.of(state) for state in last)
        ifs = dz.unflatten(1, (4, -1))[:, :3]
        for z, three, out, keep, come, through in _steps(sizes, not back, dz, ifs, do, f, g, _tanh_backward(o, curved)):
            at = dh.at(len(z)) + come
            inside = torch.addcmul(dc.at(len(z)), at, through)
            three.mul_(inside[:, None])
            out.mul_(at)
            dc.now = inside.mul_(keep)
            dh.now = z @ weights.hh
        return Back(dz, dz, (dh.last(), dc.last()))


@dataclass(frozen=True, slots=True)
class Gru:
    r""":math:`n = \tanh(x_n + r\,h_n),\; h_t = (1 - z) n + z h_{t-1}`: the new gate sees states through ``r``."""

    def forward(self, x: Tensor, first: Sequence[Tensor], weights: Weights, sizes: Sequence[int], back: bool) -> Ran:
        size = weights.hh.shape[1]
        split = size * 2
        bias = weights.bias_hh
        entering = torch.addmm(weights.bias_ih, x, weights.ih.mT) if weights.bias_ih is not None else x @ weights.ih.mT
        gates, new = entering[:, :split].contiguous(), entering[:, split:].contiguous()
        outputs, seen = new.new_empty(2, len(x), size)
        if bias is not None:
            gates += bias[:split]
        offset = new.new_zeros(size) if bias is None else bias[split:]
        to_gates, to_new = weights.hh[:split].mT.contiguous(), weights.hh[split:].mT.contiguous()
        h, before = State.of(first[0]), []
        for both, r, z, n, through, out in _steps(sizes, back, gates, gates[:, :size], gates[:, size:], new, seen, outputs):
            before.append(h.at(len(z)))
            both.addmm_(before[-1], to_gates).sigmoid_()
            n.addcmul_(r, torch.addmm(offset, before[-1], to_new, out=through)).tanh_()
            h.now = torch.lerp(n, before[-1], z, out=out)
        return Ran(outputs, (h.last(),), _joined(before, back), (gates, new, seen))

    def backward(self, ran: Ran, g: Tensor, last: Sequence[Tensor], weights: Weights, sizes: Sequence[int], back: bool) -> Back:
        gates, new, seen = ran.kept
        r, z = gates.chunk(2, 1)
        dz = new.new_empty(len(new), 3, new.shape[1])
        entering = _tanh_backward(1 - z, new)
        _sigmoid_backward(entering * seen, r, grad_input=dz[:, 0])
        _sigmoid_backward(ran.before - new, z, grad_input=dz[:, 1])
        torch.mul(entering, r, out=dz[:, 2])
        dh = State.of(last[0])
        for through, all_three, enter, keep, come in _steps(sizes, not back, dz.flatten(1), dz, entering, z, g):
            at = dh.at(len(come)) + come
            all_three.mul_(at[:, None])
            enter.mul_(at)
            dh.now = at.mul_(keep).addmm_(through, weights.hh)
        hh = dz.flatten(1)
        return Back(torch.cat([hh[:, : 2 * new.shape[1]], entering], 1), hh, (dh.last(),))


@dataclass(frozen=True, slots=True)
class Elman:
    r""":math:`h_t = \tanh(z)`, or :math:`\max(z, 0)`."""

    relu: bool

    def forward(self, x: Tensor, first: Sequence[Tensor], weights: Weights, sizes: Sequence[int], back: bool) -> Ran:
        outputs, hh = _entering(x, weights), weights.hh.mT.contiguous()
        h, before = State.of(first[0]), []
        for (z,) in _steps(sizes, back, outputs):
            before.append(h.at(len(z)))
            z.addmm_(before[-1], hh)
            h.now = z.relu_() if self.relu else z.tanh_()
        return Ran(outputs, (h.last(),), _joined(before, back), ())

    def backward(self, ran: Ran, g: Tensor, last: Sequence[Tensor], weights: Weights, sizes: Sequence[int], back: bool) -> Back:
        dz = (ran.outputs > 0).to(g.dtype) if self.relu else 1 - ran.outputs.square()
        dh = State.of(last[0])
        for z, come in _steps(sizes, not back, dz, g):
            dh.now = z.mul_(dh.at(len(z)) + come) @ weights.hh
        return Back(dz, dz, (dh.last(),))


def _steps(sizes: Sequence[int], back: bool, *rows: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Each step's share of all ``rows``, in the order of the recurrence."""
    parts = [x.split(list(sizes)) for x in rows]
    return zip(*(part[::-1] if back else part for part in parts), strict=True)


def _joined(parts: list[Tensor], back: bool) -> Tensor:
    """Step after step, from the order of the recurrence."""
    return torch.cat(parts[::-1] if back else parts)


def _entering(x: Tensor, weights: Weights) -> Tensor:
    """What inputs and biases bring to the gates, (N, gates * hidden)."""
    if weights.bias_ih is None or weights.bias_hh is None:
        return x @ weights.ih.mT
    return torch.addmm(weights.bias_ih + weights.bias_hh, x, weights.ih.mT)
