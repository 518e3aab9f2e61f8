"""Per-example gradients of ``nn.LSTM``, ``nn.GRU`` and ``nn.RNN``, run step by step for those of the gates.

At each step the gates, before their activations, are linear in the step's input :math:`x_t` and in the
previous hidden state :math:`h_{t-1}`. With :math:`dz_t` their gradient, an example's gradient is the sum over
its steps of :math:`dz_t x_t^T` for the input weights, of :math:`dz_t h_{t-1}^T` for the hidden weights, and
of :math:`dz_t` for either bias. A GRU has a :math:`dz_t` of its own for each of the two weights.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from quintain.core.errors import DataError, PrivacyError
from quintain.dp.per_example.grads import PerExampleGrads
from quintain.dp.per_example.numerics import sum_tensors
from quintain.dp.rules.protocol import CustomForwardRule, LayerCall, ParameterGrads
from quintain.dp.rules.recurrent_cells import CellBackward, Elman, Gru, Lstm, RecurrentCell, Weights
from quintain.dp.rules.registry import register_rule
from quintain.dp.rules.shared_output_grads import SharedOutputGrads

CELLS: dict[str, RecurrentCell] = {
    "LSTM": Lstm(),
    "GRU": Gru(),
    "RNN_TANH": Elman(relu=False),
    "RNN_RELU": Elman(relu=True),
}


@register_rule(nn.LSTM, nn.GRU, nn.RNN)
@CustomForwardRule
def recurrent(
    layer: nn.Module, call: LayerCall, input: Tensor | PackedSequence, hx: Any = None
) -> tuple[Any, Any]:
    """The custom forward of ``nn.LSTM``, ``nn.GRU`` and ``nn.RNN`` on a batch, packed or not.

    Raises:
        PrivacyError: If there is no batch dimension, or the LSTM projects its states (``proj_size``).
        DataError: If sequences have no step.

    Source: Hochreiter and Schmidhuber, 1997; Cho et al., 2014, arXiv:1406.1078; backpropagation through time:
    Werbos, 1990.
    """
    net = cast(nn.RNNBase, layer)
    if net.proj_size:
        raise PrivacyError(
            f"got an LSTM with proj_size = {net.proj_size}; expected 0: put a Linear layer behind it"
        )
    if isinstance(input, PackedSequence):
        x, shape, layout = input.data, None, _PackedLayout.from_packed(input)
        hx = net.permute_hidden(hx, input.sorted_indices) if hx is not None else None
    else:
        if input.dim() != 3:
            raise PrivacyError(
                f"a recurrent layer got an input of shape {tuple(input.shape)}, without a batch; expected "
                f"(examples, steps, {net.input_size}), or steps first where batch_first=False"
            )
        x = input.transpose(0, 1) if net.batch_first else input
        shape, layout = x.shape[:2], _PackedLayout.equal_lengths(*x.shape[:2])
        x = x.flatten(0, 1)
    if not layout.batch_sizes:
        raise DataError("a recurrent layer got sequences of no step; expected at least one")
    if hx is None:
        zeros = x.new_zeros(net.num_layers * (1 + net.bidirectional), layout.num_sequences, net.hidden_size)
        hx = (zeros, zeros) if net.mode == "LSTM" else zeros
    packed = isinstance(input, PackedSequence)
    net.check_forward_args(
        input.data if packed else cast(Tensor, input),
        hx,
        torch.tensor(layout.batch_sizes) if packed else None,
    )
    out, *last = _RecurrentFunction.apply(
        net, call, layout, call.grad_anchor, x, *(hx if net.mode == "LSTM" else (hx,))
    )
    hidden = tuple(last) if net.mode == "LSTM" else last[0]
    if isinstance(input, PackedSequence):
        packed_out = PackedSequence(out, input.batch_sizes, input.sorted_indices, input.unsorted_indices)
        return packed_out, net.permute_hidden(cast(Any, hidden), input.unsorted_indices)
    out = out.unflatten(0, shape)
    return (out.transpose(0, 1) if net.batch_first else out), hidden


@dataclass(frozen=True, slots=True)
class _PackedLayout:
    """Which sequence each row of a packed tensor belongs to; its rows lie step by step.

    Args:
        batch_sizes: Number of rows of each step.
        num_sequences: Number of sequences.
        padded_index: For each packed row its row in the padded tensor (sequences * steps, width), that is
            sequence * steps + step; None if all sequences have the same length, so that a reshape pads.
    """

    batch_sizes: Sequence[int]
    num_sequences: int
    padded_index: Tensor | None = None

    @classmethod
    def equal_lengths(cls, steps: int, batch: int) -> "_PackedLayout":
        return cls([batch] * steps, batch)

    @classmethod
    def from_packed(cls, sequences: PackedSequence) -> "_PackedLayout":
        sizes = sequences.batch_sizes.tolist()
        # torch packs step by step over sequences sorted by length
        examples = (
            torch.arange(sizes[0], device=sequences.data.device)
            if sequences.sorted_indices is None
            else sequences.sorted_indices
        )
        return cls(
            sizes,
            sizes[0],
            torch.cat([examples[:size] * len(sizes) + step for step, size in enumerate(sizes)]),
        )

    def to_padded(self, rows: Tensor) -> Tensor:
        """The padded tensor (B, steps, width) from rows (N, width); zero where a sequence has ended."""
        if self.padded_index is None:
            return rows.unflatten(0, (len(self.batch_sizes), self.num_sequences)).transpose(0, 1)
        padded = rows.new_zeros(self.num_sequences * len(self.batch_sizes), rows.shape[1])
        padded[self.padded_index] = rows
        return padded.unflatten(0, (self.num_sequences, len(self.batch_sizes)))


class _RecurrentFunction(torch.autograd.Function):
    """All layers of a recurrent net: returns outputs (N, directions * hidden) and final states, by layer.

    The backward pass records per-example gradients, and gives gradients at the inputs and initial states.
    """

    @staticmethod
    def forward(
        ctx: Any,
        net: nn.RNNBase,
        call: LayerCall,
        layout: _PackedLayout,
        _grad_anchor: Tensor,
        x: Tensor,
        *first: Tensor,
    ) -> tuple[Tensor, ...]:
        cell, last = CELLS[net.mode], []
        ctx.net, ctx.call, ctx.layout, ctx.saved_runs = net, call, layout, []
        ctx.save_for_backward(x)
        for layer, directions in enumerate(_weight_names(net)):
            # dropout between layers: one mask for forward and backward
            mask = (
                nn.functional.dropout(torch.ones_like(x), net.dropout)
                if layer and net.dropout and net.training
                else None
            )
            x = x if mask is None else x * mask
            runs = [
                cell.forward(
                    x,
                    [state[layer * len(directions) + direction] for state in first],
                    _weights(net, names),
                    layout.batch_sizes,
                    direction == 1,
                )
                for direction, names in enumerate(directions)
            ]
            ctx.saved_runs.append((x if layer else None, mask, runs))
            last += [run.final_states for run in runs]
            x = torch.cat([run.outputs for run in runs], 1)
        return x, *(torch.stack(states) for states in zip(*last, strict=True))

    @staticmethod
    def backward(ctx: Any, g: Tensor, *last: Tensor) -> tuple[Tensor | None, ...]:
        net, layout, net_input = ctx.net, ctx.layout, ctx.saved_tensors[0].detach()
        cell, output_grads = CELLS[net.mode], g
        first: list[tuple[Tensor, ...]] = []
        uses: list[tuple[Sequence[str], Tensor, Tensor, CellBackward]] = []
        for layer, (x, mask, runs), directions in reversed(
            list(zip(range(net.num_layers), ctx.saved_runs, _weight_names(net), strict=True))
        ):
            backward_results = [
                cell.backward(
                    run,
                    part,
                    [state[layer * len(directions) + direction] for state in last],
                    _weights(net, names),
                    layout.batch_sizes,
                    direction == 1,
                )
                for direction, (run, part, names) in enumerate(
                    zip(runs, g.chunk(len(directions), 1), directions, strict=True)
                )
            ]
            uses += [
                (names, net_input if x is None else x, run.previous_hidden, result)
                for names, run, result in zip(directions, runs, backward_results, strict=True)
            ]
            first = [result.initial_state_grads for result in backward_results] + first
            if layer or ctx.needs_input_grad[4]:
                # gradient at the layer below, through both directions
                g = sum_tensors(
                    result.gate_grads_ih @ _weights(net, names).ih
                    for result, names in zip(backward_results, directions, strict=True)
                )
                g = g if mask is None else g * mask
        ctx.call.record_grads(
            layout.num_sequences,
            output_grads,
            lambda: {
                name: grads
                for use in uses
                for name, grads in _direction_grads(ctx.call.names, layout, *use).items()
            },
        )
        return (
            None,
            None,
            None,
            None,
            g if ctx.needs_input_grad[4] else None,
            *(torch.stack(states) for states in zip(*first, strict=True)),
        )


def _direction_grads(
    trainable_names: Collection[str],
    layout: _PackedLayout,
    names: Sequence[str],
    x: Tensor,
    previous_hidden: Tensor,
    result: CellBackward,
) -> ParameterGrads:
    """The per-example gradients of one direction of one layer."""
    if result.gate_grads_hh is result.gate_grads_ih:
        ih = hh = SharedOutputGrads(
            layout.to_padded(result.gate_grads_ih), x.shape[1] + previous_hidden.shape[1]
        )
    else:
        ih, hh = (
            SharedOutputGrads(layout.to_padded(result.gate_grads_ih), x.shape[1]),
            SharedOutputGrads(layout.to_padded(result.gate_grads_hh), previous_hidden.shape[1]),
        )
    grads: dict[str, PerExampleGrads | Tensor] = {}
    # the names are those of w_ih, w_hh, b_ih, b_hh: the odd ones belong to hidden states, the last two are
    # biases
    for kind, name in enumerate(names):
        if name in trainable_names:
            g = hh if kind % 2 else ih
            grads[name] = (
                g.bias_grads if kind > 1 else g.grads_for(layout.to_padded(previous_hidden if kind else x))
            )
    return grads


def _weight_names(net: nn.RNNBase) -> list[list[list[str]]]:
    """The names of the weights by layer and direction: for inputs, for states, and both biases if any."""
    num_directions = 1 + net.bidirectional
    return [
        net._all_weights[at : at + num_directions] for at in range(0, len(net._all_weights), num_directions)
    ]


def _weights(net: nn.RNNBase, names: Sequence[str]) -> Weights:
    ih, hh, *biases = (getattr(net, name).detach() for name in names)
    return Weights(ih, hh, *(biases or (None, None)))
