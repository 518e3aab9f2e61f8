"""LSTM, GRU and RNN, run step by step so that the gradients at their gates are seen.

With ``dz`` the gradient at the gates, the weights on inputs have the gradients of a linear layer from the inputs, those on states of
one from the states ahead of each step, and both biases its sum over the steps.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from quintain.core.errors import DataError, PrivacyError
from quintain.dp.gradients.forms import PerExample
from quintain.dp.gradients.numbers import sum_of
from quintain.dp.rules.cells import Back, Cell, Elman, Gru, Lstm, Weights
from quintain.dp.rules.protocol import Found, Use
from quintain.dp.rules.shared import Shared

CELLS: dict[str, Cell] = {"LSTM": Lstm(), "GRU": Gru(), "RNN_TANH": Elman(relu=False), "RNN_RELU": Elman(relu=True)}


def recurrent(layer: nn.Module, use: Use, input: Tensor | PackedSequence, hx: Any = None) -> tuple[Any, Any]:
    """``nn.LSTM.forward``, ``nn.GRU.forward`` or ``nn.RNN.forward`` on a batch, packed or not.

    Raises:
        PrivacyError: If there is no batch dimension, or the LSTM projects its states (``proj_size``).
        DataError: If there is no step.

    Source: Hochreiter and Schmidhuber, 1997; Cho et al., 2014, arXiv:1406.1078; backwards: Werbos, 1990.
    """
    net = cast(nn.RNNBase, layer)
    if net.proj_size:
        raise PrivacyError(f"got an LSTM with proj_size = {net.proj_size}; expected 0: put a Linear layer behind it")
    if isinstance(input, PackedSequence):
        x, shape, steps = input.data, None, _Steps.packed(input)
        hx = net.permute_hidden(hx, input.sorted_indices) if hx is not None else None
    else:
        if input.dim() != 3:
            raise PrivacyError(
                f"a recurrent layer got an input of shape {tuple(input.shape)}, without a batch; expected (examples, steps, "
                f"{net.input_size}), or steps first where batch_first=False"
            )
        x = input.transpose(0, 1) if net.batch_first else input
        shape, steps = x.shape[:2], _Steps.beside(*x.shape[:2])
        x = x.flatten(0, 1)
    if not steps.sizes:
        raise DataError("a recurrent layer got sequences of no step; expected at least one")
    if hx is None:
        zeros = x.new_zeros(net.num_layers * (1 + net.bidirectional), steps.batch, net.hidden_size)
        hx = (zeros, zeros) if net.mode == "LSTM" else zeros
    packed = isinstance(input, PackedSequence)
    net.check_forward_args(input.data if packed else cast(Tensor, input), hx, torch.tensor(steps.sizes) if packed else None)
    out, *last = _Layers.apply(net, use, steps, use.needs, x, *(hx if net.mode == "LSTM" else (hx,)))
    hidden = tuple(last) if net.mode == "LSTM" else last[0]
    if isinstance(input, PackedSequence):
        given = PackedSequence(out, input.batch_sizes, input.sorted_indices, input.unsorted_indices)
        return given, net.permute_hidden(cast(Any, hidden), input.unsorted_indices)
    out = out.unflatten(0, shape)
    return (out.transpose(0, 1) if net.batch_first else out), hidden


@dataclass(frozen=True, slots=True)
class _Steps:
    """How the rows of sequences that lie side by side belong together.

    Args:
        sizes: How many each step has.
        batch: Sequences.
        place: Of each row among those of the first example, the second, ..., as many for each as there are steps; None if sequences are
            of one length.
    """

    sizes: Sequence[int]
    batch: int
    place: Tensor | None = None

    @classmethod
    def beside(cls, steps: int, batch: int) -> "_Steps":
        return cls([batch] * steps, batch)

    @classmethod
    def packed(cls, given: PackedSequence) -> "_Steps":
        sizes = given.batch_sizes.tolist()
        examples = torch.arange(sizes[0], device=given.data.device) if given.sorted_indices is None else given.sorted_indices
        return cls(sizes, sizes[0], torch.cat([examples[:size] * len(sizes) + step for step, size in enumerate(sizes)]))

    def examples(self, rows: Tensor) -> Tensor:
        """(B, steps, width) from (N, width); zero where a sequence has ended."""
        if self.place is None:
            return rows.unflatten(0, (len(self.sizes), self.batch)).transpose(0, 1)
        whole = rows.new_zeros(self.batch * len(self.sizes), rows.shape[1])
        whole[self.place] = rows
        return whole.unflatten(0, (self.batch, len(self.sizes)))


class _Layers(torch.autograd.Function):
    """All layers of a recurrent net: outputs (N, directions * hidden) and last states (layers * directions, B, hidden)."""

    @staticmethod
    def forward(ctx: Any, net: nn.RNNBase, use: Use, steps: _Steps, _needs: Tensor, x: Tensor, *first: Tensor) -> tuple[Tensor, ...]:
        cell, last = CELLS[net.mode], []
        ctx.net, ctx.use, ctx.steps, ctx.kept = net, use, steps, []
        ctx.save_for_backward(x)
        for layer, sides in enumerate(_sides(net)):
            mask = nn.functional.dropout(torch.ones_like(x), net.dropout) if layer and net.dropout and net.training else None
            x = x if mask is None else x * mask
            runs = [
                cell.forward(x, [state[layer * len(sides) + side] for state in first], _weights(net, names), steps.sizes, side == 1)
                for side, names in enumerate(sides)
            ]
            ctx.kept.append((x if layer else None, mask, runs))
            last += [run.last for run in runs]
            x = torch.cat([run.outputs for run in runs], 1)
        return x, *(torch.stack(states) for states in zip(*last, strict=True))

    @staticmethod
    def backward(ctx: Any, g: Tensor, *last: Tensor) -> tuple[Tensor | None, ...]:
        net, steps, given = ctx.net, ctx.steps, ctx.saved_tensors[0].detach()
        cell, top = CELLS[net.mode], g
        first: list[tuple[Tensor, ...]] = []
        seen: list[tuple[Sequence[str], Tensor, Tensor, Back]] = []
        for layer, (x, mask, runs), sides in reversed(list(zip(range(net.num_layers), ctx.kept, _sides(net), strict=True))):
            backs = [
                cell.backward(run, part, [state[layer * len(sides) + side] for state in last], _weights(net, names), steps.sizes, side == 1)
                for side, (run, part, names) in enumerate(zip(runs, g.chunk(len(sides), 1), sides, strict=True))
            ]
            seen += [(names, given if x is None else x, run.before, back) for names, run, back in zip(sides, runs, backs, strict=True)]
            first = [back.first for back in backs] + first
            if layer or ctx.needs_input_grad[4]:
                g = sum_of(back.ih @ _weights(net, names).ih for back, names in zip(backs, sides, strict=True))
                g = g if mask is None else g * mask
        ctx.use.note(steps.batch, top, lambda: {k: v for one in seen for k, v in _found(ctx.use.names, steps, *one).items()})
        return None, None, None, None, g if ctx.needs_input_grad[4] else None, *(torch.stack(states) for states in zip(*first, strict=True))


def _found(trained: Collection[str], steps: _Steps, names: Sequence[str], x: Tensor, before: Tensor, back: Back) -> Found:
    """Gradients of one direction of one layer."""
    if back.hh is back.ih:
        ih = hh = Shared(steps.examples(back.ih), x.shape[1] + before.shape[1])
    else:
        ih, hh = Shared(steps.examples(back.ih), x.shape[1]), Shared(steps.examples(back.hh), before.shape[1])
    found: dict[str, PerExample | Tensor] = {}
    for kind, name in enumerate(names):
        if name in trained:
            g = hh if kind % 2 else ih
            found[name] = g.summed if kind > 1 else g.outer(steps.examples(before if kind else x))
    return found


def _sides(net: nn.RNNBase) -> list[list[list[str]]]:
    """The names of the weights by layer and direction: on inputs, on states, and the biases, if any, alike."""
    directions = 1 + net.bidirectional
    return [net._all_weights[at : at + directions] for at in range(0, len(net._all_weights), directions)]


def _weights(net: nn.RNNBase, names: Sequence[str]) -> Weights:
    ih, hh, *biases = (getattr(net, name).detach() for name in names)
    return Weights(ih, hh, *(biases or (None, None)))
