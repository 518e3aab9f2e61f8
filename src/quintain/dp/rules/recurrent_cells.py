r"""Recurrent cells over whole sequences: the forward pass, and the gradients at their gates.

Sequences lie side by side, step after step: rows (N, width), of which the first ``batch_sizes[0]`` belong to
step 0 and so on; the longest sequences come first, so that a step's rows are the first of the step before.
Gates are in torch's order.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
_tanh_backward = torch.ops.aten.tanh_backward.default


class Weights(NamedTuple):
    """The weights of one direction of one layer, on inputs (ih) and states (hh); biases are None together."""

    ih: Tensor
    hh: Tensor
    bias_ih: Tensor | None
    bias_hh: Tensor | None


class CellForward(NamedTuple):
    """The result of a cell's forward pass.

    Args:
        outputs: The hidden states h_t of all steps, (N, hidden).
        final_states: The states after the last step of each sequence, each (B, hidden).
        previous_hidden: The hidden states h_{t-1} before each step, (N, hidden).
        saved: Tensors for the backward pass.
    """

    outputs: Tensor
    final_states: tuple[Tensor, ...]
    previous_hidden: Tensor
    saved: tuple[Tensor, ...]


class CellBackward(NamedTuple):
    """The result of a cell's backward pass.

    Args:
        gate_grads_ih: Gradients at the gates where inputs enter, (N, gates * hidden).
        gate_grads_hh: Gradients at the gates where states enter, (N, gates * hidden).
        initial_state_grads: Gradients at the initial states.
    """

    gate_grads_ih: Tensor
    gate_grads_hh: Tensor
    initial_state_grads: tuple[Tensor, ...]


class RecurrentCell(Protocol):
    """One kind of recurrent cell."""

    def forward(
        self,
        x: Tensor,
        initial: Sequence[Tensor],
        weights: Weights,
        batch_sizes: Sequence[int],
        reverse: bool,
    ) -> CellForward:
        """Run over inputs (N, width) from initial states (B, hidden); from the last step if ``reverse``."""

    def backward(
        self,
        saved: CellForward,
        g: Tensor,
        final_grads: Sequence[Tensor],
        weights: Weights,
        batch_sizes: Sequence[int],
        reverse: bool,
    ) -> CellBackward:
        """The gradients at the gates, from those at the outputs and the final states."""


@dataclass(slots=True)
class RaggedState:
    """Rows of a state during a recurrence over sequences of several lengths, the longest first.

    ``rows_at_step(n)`` returns the rows of the n active sequences. When n falls, the rows of sequences that
    end are stored as their final states; when n grows (reverse direction), the rows of sequences that begin
    are taken from the initial states.
    """

    initial: Tensor
    current: Tensor
    ended: list[Tensor] = field(default_factory=list)

    @classmethod
    def start(cls, first: Tensor) -> "RaggedState":
        return cls(first, first[:0])

    def rows_at_step(self, rows: int) -> Tensor:
        """The rows of the sequences that are active at a step."""
        active = len(self.current)
        if rows < active:
            self.ended.append(self.current[rows:])
            self.current = self.current[:rows]
        elif rows > active:
            self.current = torch.cat([self.current, self.initial[active:rows]])
        return self.current

    def final(self) -> Tensor:
        """The final states of all sequences."""
        return torch.cat([self.current, *reversed(self.ended)])


@dataclass(frozen=True, slots=True)
class Lstm:
    r""":math:`c_t = f c_{t-1} + i g,\; h_t = o \tanh c_t`."""

    def forward(
        self,
        x: Tensor,
        initial: Sequence[Tensor],
        weights: Weights,
        batch_sizes: Sequence[int],
        reverse: bool,
    ) -> CellForward:
        """The forward pass."""
        # tanh a = 2 sigmoid(2 a) - 1: the new gate's rows are doubled, so that one sigmoid serves all four
        # gates
        gate_scale = x.new_tensor([1, 1, 2, 1]).repeat_interleave(weights.hh.shape[1])
        biases = (None if bias is None else bias * gate_scale for bias in (weights.bias_ih, weights.bias_hh))
        weights = Weights(weights.ih * gate_scale[:, None], weights.hh * gate_scale[:, None], *biases)
        gates, hh = _input_to_gates(x, weights), weights.hh.mT.contiguous()
        outputs, tanh_cell = gates.new_empty(2, len(x), len(hh))
        h, c = (RaggedState.start(state) for state in initial)
        before, cells = [], []
        for z, out, curve in _by_step(batch_sizes, reverse, gates, outputs, tanh_cell):
            before.append(h.rows_at_step(len(z)))
            cells.append(c.rows_at_step(len(z)))
            i, f, s, o = z.addmm_(before[-1], hh).sigmoid_().chunk(4, 1)
            # c_t = f c_{t-1} + i (2 s - 1), in place; h_t = o tanh c_t
            c.current = torch.mul(f, cells[-1]).addcmul_(i, s, value=2).sub_(i)
            h.current = torch.mul(o, torch.tanh(c.current, out=curve), out=out)
        return CellForward(
            outputs,
            (h.final(), c.final()),
            _in_time_order(before, reverse),
            (gates, tanh_cell, _in_time_order(cells, reverse)),
        )

    def backward(
        self,
        saved: CellForward,
        g: Tensor,
        final_grads: Sequence[Tensor],
        weights: Weights,
        batch_sizes: Sequence[int],
        reverse: bool,
    ) -> CellBackward:
        r"""The backward pass, with :math:`dc_t = dc_{t+1} f_{t+1} + dh_t o (1 - \tanh^2 c_t)`."""
        gates, tanh_cell, cells = saved.saved
        # all factors of dz that do not depend on dh and dc at once; 4 for the new gate: tanh is 2 s - 1, of 2
        # a
        i, f, s, o = gates.chunk(4, 1)
        dz = torch.empty_like(gates)
        di, df, ds, do = dz.chunk(4, 1)
        _sigmoid_backward(2 * s - 1, i, grad_input=di)
        _sigmoid_backward(cells, f, grad_input=df)
        _sigmoid_backward(i, s, grad_input=ds).mul_(4)
        _sigmoid_backward(tanh_cell, o, grad_input=do)
        dh, dc = (RaggedState.start(state) for state in final_grads)
        ifs = dz.unflatten(1, (4, -1))[:, :3]
        for z, input_forget_new, out, forget_gate, output_grad, cell_factor in _by_step(
            batch_sizes, not reverse, dz, ifs, do, f, g, _tanh_backward(o, tanh_cell)
        ):
            # dh: gradient at h_t; dc through f and through o (1 - tanh^2 c); z @ W_hh carries dz one step
            # back
            at = dh.rows_at_step(len(z)) + output_grad
            inside = torch.addcmul(dc.rows_at_step(len(z)), at, cell_factor)
            input_forget_new.mul_(inside[:, None])
            out.mul_(at)
            dc.current = inside.mul_(forget_gate)
            dh.current = z @ weights.hh
        return CellBackward(dz, dz, (dh.final(), dc.final()))


@dataclass(frozen=True, slots=True)
class Gru:
    r""":math:`n = \tanh(x_n + r\,h_n),\; h_t = (1 - z) n + z h_{t-1}`.

    The new gate sees states through ``r``.
    """

    def forward(
        self,
        x: Tensor,
        initial: Sequence[Tensor],
        weights: Weights,
        batch_sizes: Sequence[int],
        reverse: bool,
    ) -> CellForward:
        size = weights.hh.shape[1]
        split = size * 2
        bias = weights.bias_hh
        entering = (
            torch.addmm(weights.bias_ih, x, weights.ih.mT)
            if weights.bias_ih is not None
            else x @ weights.ih.mT
        )
        gates, new = entering[:, :split].contiguous(), entering[:, split:].contiguous()
        outputs, hidden_to_new = new.new_empty(2, len(x), size)
        if bias is not None:
            gates += bias[:split]
        offset = new.new_zeros(size) if bias is None else bias[split:]
        to_gates, to_new = weights.hh[:split].mT.contiguous(), weights.hh[split:].mT.contiguous()
        h, before = RaggedState.start(initial[0]), []
        # r and z by one sigmoid; n = tanh(x_n + r (W_hn h + b)); h_t is lerp(n, h_{t-1}, z)
        for both, r, z, n, through, out in _by_step(
            batch_sizes, reverse, gates, gates[:, :size], gates[:, size:], new, hidden_to_new, outputs
        ):
            before.append(h.rows_at_step(len(z)))
            both.addmm_(before[-1], to_gates).sigmoid_()
            n.addcmul_(r, torch.addmm(offset, before[-1], to_new, out=through)).tanh_()
            h.current = torch.lerp(n, before[-1], z, out=out)
        return CellForward(
            outputs, (h.final(),), _in_time_order(before, reverse), (gates, new, hidden_to_new)
        )

    def backward(
        self,
        saved: CellForward,
        g: Tensor,
        final_grads: Sequence[Tensor],
        weights: Weights,
        batch_sizes: Sequence[int],
        reverse: bool,
    ) -> CellBackward:
        gates, new, hidden_to_new = saved.saved
        r, z = gates.chunk(2, 1)
        dz = new.new_empty(len(new), 3, new.shape[1])
        # factors of dh, all steps at once: "entering" at the new gate's input; dz[:, 2] is that at W_hn h,
        # which differs from it by r
        entering = _tanh_backward(1 - z, new)
        _sigmoid_backward(entering * hidden_to_new, r, grad_input=dz[:, 0])
        _sigmoid_backward(saved.previous_hidden - new, z, grad_input=dz[:, 1])
        torch.mul(entering, r, out=dz[:, 2])
        dh = RaggedState.start(final_grads[0])
        for hidden_grads, all_gates, input_grads, update_gate, output_grad in _by_step(
            batch_sizes, not reverse, dz.flatten(1), dz, entering, z, g
        ):
            at = dh.rows_at_step(len(output_grad)) + output_grad
            all_gates.mul_(at[:, None])
            input_grads.mul_(at)
            dh.current = at.mul_(update_gate).addmm_(hidden_grads, weights.hh)
        hh = dz.flatten(1)
        return CellBackward(torch.cat([hh[:, : 2 * new.shape[1]], entering], 1), hh, (dh.final(),))


@dataclass(frozen=True, slots=True)
class Elman:
    r""":math:`h_t = \tanh(z)`, or :math:`\max(z, 0)`."""

    relu: bool

    def forward(
        self,
        x: Tensor,
        initial: Sequence[Tensor],
        weights: Weights,
        batch_sizes: Sequence[int],
        reverse: bool,
    ) -> CellForward:
        outputs, hh = _input_to_gates(x, weights), weights.hh.mT.contiguous()
        h, before = RaggedState.start(initial[0]), []
        for (z,) in _by_step(batch_sizes, reverse, outputs):
            before.append(h.rows_at_step(len(z)))
            z.addmm_(before[-1], hh)
            h.current = z.relu_() if self.relu else z.tanh_()
        return CellForward(outputs, (h.final(),), _in_time_order(before, reverse), ())

    def backward(
        self,
        saved: CellForward,
        g: Tensor,
        final_grads: Sequence[Tensor],
        weights: Weights,
        batch_sizes: Sequence[int],
        reverse: bool,
    ) -> CellBackward:
        dz = (saved.outputs > 0).to(g.dtype) if self.relu else 1 - saved.outputs.square()
        dh = RaggedState.start(final_grads[0])
        for z, output_grad in _by_step(batch_sizes, not reverse, dz, g):
            dh.current = z.mul_(dh.rows_at_step(len(z)) + output_grad) @ weights.hh
        return CellBackward(dz, dz, (dh.final(),))


def _by_step(batch_sizes: Sequence[int], reverse: bool, *rows: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The rows of each step, in the order of the recurrence."""
    parts = [x.split(list(batch_sizes)) for x in rows]
    return zip(*(part[::-1] if reverse else part for part in parts), strict=True)


def _in_time_order(parts: list[Tensor], reverse: bool) -> Tensor:
    """Rows in the order of time, from those in the order of the recurrence."""
    return torch.cat(parts[::-1] if reverse else parts)


def _input_to_gates(x: Tensor, weights: Weights) -> Tensor:
    """What inputs and biases add to the gates, (N, gates * hidden)."""
    if weights.bias_ih is None or weights.bias_hh is None:
        return x @ weights.ih.mT
    return torch.addmm(weights.bias_ih + weights.bias_hh, x, weights.ih.mT)
