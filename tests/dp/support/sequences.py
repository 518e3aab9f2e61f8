"""Recurrent layers in many forms, for their tests."""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from tests.dp.support.singles import built

KINDS = [nn.LSTM, nn.GRU, nn.RNN]


def flat(hidden: Tensor | tuple[Tensor, ...]) -> list[Tensor]:
    """Return the last states as one row (B, ...) per example."""
    return [
        state.transpose(0, 1).flatten(1) for state in (hidden if isinstance(hidden, tuple) else (hidden,))
    ]


class Run(nn.Module):
    """A recurrent layer on x (B, 5, 3): all its outputs and last states, by example.

    Args:
        layer: The recurrent layer.
        given: Whether the layer gets initial states, which are computed from the inputs.
        lengths: Whether sequences are packed, each of a length that follows from its inputs.
        output, state: Whether outputs and last states are returned.
    """

    def __init__(
        self,
        layer: nn.RNNBase,
        *,
        given: bool = False,
        lengths: bool = False,
        output: bool = True,
        state: bool = True,
    ) -> None:
        super().__init__()
        self.layer, self.given, self.lengths, self.output, self.state = layer, given, lengths, output, state

    def forward(self, x: Tensor) -> Tensor:
        first = None
        if self.given:
            count = self.layer.num_layers * (1 + self.layer.bidirectional)
            state = x.mean((1, 2)).view(1, -1, 1) * torch.linspace(
                -1, 1, count * self.layer.hidden_size, dtype=x.dtype
            ).view(count, 1, -1)
            first = (state, state.cos()) if isinstance(self.layer, nn.LSTM) else state
        if self.lengths:
            steps = 1 + (x[:, 0, 0].abs() * 1000).long() % x.shape[1]
            packed = pack_padded_sequence(x, steps, batch_first=True, enforce_sorted=False)
            out, hidden = self.layer(packed, first)
            assert isinstance(out, PackedSequence)
            out = pad_packed_sequence(out, batch_first=True, total_length=x.shape[1])[0]
        else:
            out, hidden = self.layer(x if self.layer.batch_first else x.transpose(0, 1), first)
            out = out if self.layer.batch_first else out.transpose(0, 1)
        return torch.cat(
            [*([out.flatten(1)] if self.output else []), *(flat(hidden) if self.state else [])], 1
        )


CASES: dict[str, tuple[dict[str, object], dict[str, bool]]] = {
    "one layer": ({}, {}),
    "outputs alone": ({}, {"state": False}),
    "states alone": ({"num_layers": 2}, {"output": False}),
    "without bias": ({"bias": False}, {}),
    "steps first": ({"batch_first": False}, {"given": True}),
    "three layers": ({"num_layers": 3}, {}),
    "both directions": ({"bidirectional": True}, {"given": True}),
    "two layers, both directions": ({"num_layers": 2, "bidirectional": True}, {"given": True}),
    "packed": ({}, {"lengths": True}),
    "packed, two layers, both directions": (
        {"num_layers": 2, "bidirectional": True},
        {"lengths": True, "given": True},
    ),
    "packed, without bias": ({"bias": False, "batch_first": False}, {"lengths": True, "given": True}),
}


def made(kind: type[nn.RNNBase], case: str, **more: object) -> nn.Module:
    layer, run = CASES[case]
    return built(Run(kind(3, 2, **{"batch_first": True, **layer, **more}), **run))


def batch(examples: int, steps: int = 5, width: int = 3) -> Tensor:
    return torch.randn(
        examples, steps, width, generator=torch.Generator().manual_seed(examples), dtype=torch.float64
    )
