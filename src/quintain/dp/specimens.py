"""The nets and records with which a mechanism is tested.

They are a net of every kind of layer that has a rule, records whose gradients reach the clipping bound, and
nets whose gradients are zero, so that a release is noise alone.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from quintain.dp.rules import EXAMPLES
from quintain.models.adapters import forward_logits

NUM_CLASSES = 3
RECORD_SIZE = 64
"""Values of a hostile record; layers take them flat, as 8x8 or 4x4x4, as 8 steps of 8, or as token ids."""

_VOCABULARY_SIZE = 7
_HOSTILE_SCALES = (1.0, 1.0, -1.0, 1e3, -1e3, 1e8, 1e8, 1e-8, 0.0, math.nan, math.inf, 30.0)

ApplyLayer = Callable[[nn.Module, Tensor], Tensor]
"""A function that applies a layer to its view of records (B, 64)."""


def records_without_gradient(count: int, net: nn.Module) -> tuple[Tensor, Tensor]:
    """Return records (count, F) of zeros and labels (count,) for ``layers_without_gradient``."""
    first = next(module for module in net.modules() if isinstance(module, nn.Linear))
    return torch.zeros(count, first.in_features), torch.zeros(count, dtype=torch.long)


def layers_without_gradient(inputs: int = 16, hidden: int = 4096, outputs: int = 17) -> nn.Module:
    """Return a net whose gradients are zero on records of zeros, whatever its weights are.

    It has no biases, so that the input of every layer is zero. The first two layers have more than twice as
    many weights as noise is drawn for at a time, and not a multiple of that number. The others are small,
    down to a single weight.
    """
    return nn.Sequential(
        nn.Linear(inputs, hidden, bias=False),
        nn.Linear(hidden, outputs, bias=False),
        nn.PReLU(outputs),
        nn.Linear(outputs, 4, bias=False),
        nn.PReLU(),
    )


class ZeroOutputs(nn.Module):
    """A net whose logits are multiplied by zero, so that all of its gradients are zero."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Return zeros in the shape of the net's logits (B, K)."""
        return forward_logits(self.net, x) * 0


class ScaledOutputs(nn.Module):
    """A net whose logits are multiplied by a factor, and its gradients with them.

    Args:
        net: The net that computes the logits.
        gain: Factor on the logits.
    """

    def __init__(self, net: nn.Module, gain: float) -> None:
        super().__init__()
        self.net, self.gain = net, gain

    def forward(self, x: Tensor) -> Tensor:
        """Return the net's logits (B, K) times the factor."""
        return self.gain * forward_logits(self.net, x)


class _Branch(nn.Module):
    """A layer on its own view of a record, whose outputs are averaged into logits."""

    def __init__(self, layer: nn.Module, apply_layer: ApplyLayer) -> None:
        super().__init__()
        self.layer, self._apply_layer = layer, apply_layer

    def forward(self, x: Tensor) -> Tensor:
        output = self._apply_layer(self.layer, x).flatten(1)
        return F.adaptive_avg_pool1d(output[:, None], NUM_CLASSES)[:, 0]


class EveryLayer(nn.Module):
    """A small float64 net with a layer of each kind that has a rule.

    One layer is used twice, some have tied weights, and the examples that come with rules are included.
    Convolutions, attention and embeddings appear in sizes and uses enough for each form that gradients are
    held in (``forms``). All layers see the record itself, side by side, so that none hides the gradient of
    another.

    Args:
        seed: Seed of the weights.
        gain: Factor on the logits, large enough that gradients are clipped.
    """

    def __init__(self, seed: int, gain: float) -> None:
        super().__init__()
        self.gain = gain
        self.branches = nn.ModuleList(
            _Branch(layer, apply_layer)
            for layer, apply_layer in (
                *_layers(),
                *((example(), _on_small_image) for example in EXAMPLES.values()),
            )
        )
        self.double()
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.normal_(0, 0.5, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, 3) of records (B, 64)."""
        return self.gain * torch.stack([branch(x) for branch in self.branches]).sum(0)


def hostile_records(net: nn.Module) -> tuple[Tensor, Tensor]:
    """Return records (n, 64) that are hard to clip, and as labels (n,) the class that the net rates lowest.

    They are large, huge, equal, opposite, tiny, NaN, infinite and zero.
    """
    base = torch.linspace(-1, 1, RECORD_SIZE, dtype=torch.float64).sin()
    x = torch.stack([base * scale for scale in _HOSTILE_SCALES])
    with torch.no_grad():
        return x, net(x).nan_to_num().argmin(1)


def _layers() -> list[tuple[nn.Module, ApplyLayer]]:
    """Return each layer with the function that applies it to records."""
    flat, sequence, image, volume = (
        _apply_reshaped(*shape) for shape in ((RECORD_SIZE,), (8, 8), (1, 8, 8), (1, 4, 4, 4))
    )
    linear, tied_linear = nn.Linear(8, 8, bias=False), nn.Linear(8, 8)
    tied_linear.weight = linear.weight
    embedding, tied_head = nn.Embedding(_VOCABULARY_SIZE, 5), nn.Linear(5, _VOCABULARY_SIZE, bias=False)
    tied_head.weight = embedding.weight
    return [
        (nn.Linear(RECORD_SIZE, 6), flat),
        (NonDynamicallyQuantizableLinear(RECORD_SIZE, 6), flat),
        (nn.PReLU(), flat),
        (nn.Bilinear(8, 8, 6), lambda layer, x: layer(x[:, :8], x[:, 8:16])),
        (nn.GroupNorm(4, RECORD_SIZE), flat),
        (nn.LayerNorm(RECORD_SIZE), flat),
        (nn.RMSNorm(RECORD_SIZE, eps=1e-5), flat),
        (nn.Conv1d(8, 3, 3, padding=1), sequence),
        (nn.ConvTranspose1d(8, 6, 3), sequence),
        (nn.ConvTranspose1d(8, 16, 5), sequence),
        (nn.Conv2d(1, 3, 3, 2, 1), image),
        (nn.ConvTranspose2d(1, 2, 3, 2), image),
        (nn.Conv3d(1, 2, 2), volume),
        (nn.ConvTranspose3d(1, 2, 2), volume),
        (nn.InstanceNorm1d(8, affine=True), sequence),
        (nn.InstanceNorm2d(4, affine=True), _apply_reshaped(4, 4, 4)),
        (nn.InstanceNorm3d(2, affine=True), _apply_reshaped(2, 4, 4, 2)),
        (nn.Conv2d(8, 2, 3), lambda layer, x: layer(x.view(-1, 1, 8, 8).tile(1, 8, 2, 2))),
        (nn.Embedding(_VOCABULARY_SIZE, 5), _on_tokens),
        (nn.EmbeddingBag(_VOCABULARY_SIZE, 5, mode="sum"), _on_tokens),
        (nn.MultiheadAttention(8, 2, batch_first=True), _self_attention),
        (nn.MultiheadAttention(8, 2, batch_first=True), _cross_attention),
        (nn.LSTM(8, 4, batch_first=True), _on_recurrent),
        (nn.GRU(8, 4, batch_first=True), _on_recurrent),
        (nn.RNN(8, 4, batch_first=True), _on_recurrent),
        (nn.Sequential(linear, nn.Tanh(), tied_linear, nn.Tanh(), linear), sequence),
        (nn.Sequential(embedding, nn.Tanh(), tied_head), _on_tokens),
    ]


def _apply_reshaped(*shape: int) -> ApplyLayer:
    """Return the function that applies a layer to records of this shape."""
    return lambda layer, x: layer(x.view(-1, *shape))


def _on_small_image(layer: nn.Module, x: Tensor) -> Tensor:
    output: Tensor = layer(x[:, :16].reshape(-1, 1, 4, 4))
    return output


def _on_recurrent(layer: nn.Module, x: Tensor) -> Tensor:
    output: Tensor = layer(x.view(-1, 8, 8))[0]
    return output


def _self_attention(layer: nn.Module, x: Tensor) -> Tensor:
    output: Tensor = layer(*[x.view(-1, 8, 8)] * 3, need_weights=False)[0]
    return output


def _cross_attention(layer: nn.Module, x: Tensor) -> Tensor:
    sequence = x.view(-1, 8, 8)
    output: Tensor = layer(sequence[:, ::2], sequence, sequence, need_weights=False)[0]
    return output


def _on_tokens(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply a layer to four token ids (B, 4), which follow from the records' first values."""
    tokens = (x[:, :4].nan_to_num(0, 0, 0).abs() * 10).remainder(_VOCABULARY_SIZE).long()
    output: Tensor = layer(tokens)
    return output
