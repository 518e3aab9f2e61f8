"""What a mechanism is measured with: a net of every kind of layer that has a rule, and records that press
against the bound.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from quintain.dp.rules import EXAMPLES
from quintain.models.adapters import adapt

CLASSES = 3
PIXELS = 64
"""Numbers of a hostile record; layers take them flat, as 8x8 or 4x4x4, as 8 steps of 8, or as numbers of
words.
"""

_WORDS = 7
_SCALES = (1.0, 1.0, -1.0, 1e3, -1e3, 1e8, 1e8, 1e-8, 0.0, math.nan, math.inf, 30.0)


def records_without_gradient(count: int, net: nn.Module) -> tuple[Tensor, Tensor]:
    """Zeros that go with ``layers_without_gradient``."""
    first = next(module for module in net.modules() if isinstance(module, nn.Linear))
    return torch.zeros(count, first.in_features), torch.zeros(count, dtype=torch.long)


def layers_without_gradient(inputs: int = 16, hidden: int = 4096, outputs: int = 17) -> nn.Module:
    """Layers that zeros give no gradient, whatever the weights: without biases, what goes in is zero
    everywhere.

    The first two have more numbers than twice what noise is drawn for at a time, and not a multiple of it;
    the others are small, down to a single number.
    """
    return nn.Sequential(
        nn.Linear(inputs, hidden, bias=False),
        nn.Linear(hidden, outputs, bias=False),
        nn.PReLU(outputs),
        nn.Linear(outputs, 4, bias=False),
        nn.PReLU(),
    )


class Unmoved(nn.Module):
    """A net whose outputs are multiplied by zero, so that no record gives its weights a gradient."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Zeros, in the shape of what the net gives."""
        logits = adapt(self.net(x), len(x))
        return logits * 0


class Loud(nn.Module):
    """A net whose outputs are multiplied, so that its gradients are.

    Args:
        net: Logits.
        gain: What they are multiplied by.
    """

    def __init__(self, net: nn.Module, gain: float) -> None:
        super().__init__()
        self.net, self.gain = net, gain

    def forward(self, x: Tensor) -> Tensor:
        logits = adapt(self.net(x), len(x))
        return self.gain * logits


class _Branch(nn.Module):
    """A layer on its own view of the record, folded into logits."""

    def __init__(self, layer: nn.Module, view: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.layer, self._view = layer, view

    def forward(self, x: Tensor) -> Tensor:
        return F.adaptive_avg_pool1d(self._view(self.layer, x).flatten(1)[:, None], CLASSES)[:, 0]


class EveryLayer(nn.Module):
    """A small float64 net of each kind of layer that has a rule, one of them used twice, some with tied
    weights, and the examples that rules come with.

    Convolutions, attention and tables are there in sizes and uses enough for each form that gradients are
    held in (``forms``). They stand side by side, each on the record itself, so that none hides another's
    gradient.

    Args:
        seed: Of the weights.
        gain: What the logits are multiplied by: large enough that gradients are clipped.
    """

    def __init__(self, seed: int, gain: float) -> None:
        super().__init__()
        self.gain = gain
        self.branches = nn.ModuleList(
            _Branch(layer, view)
            for layer, view in (*_layers(), *((example(), _small_picture) for example in EXAMPLES.values()))
        )
        self.double()
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.normal_(0, 0.5, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, 3) from records (B, 64)."""
        return self.gain * torch.stack([branch(x) for branch in self.branches]).sum(0)


def hostile_records(net: nn.Module) -> tuple[Tensor, Tensor]:
    """Records that are large, huge, equal, opposite, NaN, infinite and zero, each labeled with the class that
    the net thinks least of.
    """
    base = torch.linspace(-1, 1, PIXELS, dtype=torch.float64).sin()
    x = torch.stack([base * scale for scale in _SCALES])
    with torch.no_grad():
        return x, net(x).nan_to_num().argmin(1)


def _layers() -> list[tuple[nn.Module, Callable[[nn.Module, Tensor], Tensor]]]:
    sequences = (
        nn.LSTM(8, 4, batch_first=True),
        nn.GRU(8, 4, batch_first=True),
        nn.RNN(8, 4, batch_first=True),
    )
    tied = nn.Linear(8, 8, bias=False)
    other = nn.Linear(8, 8)
    other.weight = tied.weight
    words, head = nn.Embedding(_WORDS, 5), nn.Linear(5, _WORDS, bias=False)
    head.weight = words.weight
    return [
        *(
            (layer, _flat)
            for layer in (nn.Linear(PIXELS, 6), NonDynamicallyQuantizableLinear(PIXELS, 6), nn.PReLU())
        ),
        (nn.Bilinear(8, 8, 6), lambda layer, x: layer(x[:, :8], x[:, 8:16])),
        *(
            (layer, _flat)
            for layer in (nn.GroupNorm(4, PIXELS), nn.LayerNorm(PIXELS), nn.RMSNorm(PIXELS, eps=1e-5))
        ),
        *(
            (layer, _steps)
            for layer in (
                nn.Conv1d(8, 3, 3, padding=1),
                nn.ConvTranspose1d(8, 6, 3),
                nn.ConvTranspose1d(8, 16, 5),
            )
        ),
        *((layer, _picture) for layer in (nn.Conv2d(1, 3, 3, 2, 1), nn.ConvTranspose2d(1, 2, 3, 2))),
        *((layer, _volume) for layer in (nn.Conv3d(1, 2, 2), nn.ConvTranspose3d(1, 2, 2))),
        (nn.InstanceNorm1d(8, affine=True), _steps),
        (nn.InstanceNorm2d(4, affine=True), lambda layer, x: layer(x.view(-1, 4, 4, 4))),
        (nn.InstanceNorm3d(2, affine=True), lambda layer, x: layer(x.view(-1, 2, 4, 4, 2))),
        (nn.Conv2d(8, 2, 3), lambda layer, x: layer(x.view(-1, 1, 8, 8).tile(1, 8, 2, 2))),
        *(
            (layer, lambda layer, x: layer(_words(x)))
            for layer in (nn.Embedding(_WORDS, 5), nn.EmbeddingBag(_WORDS, 5, mode="sum"))
        ),
        *((nn.MultiheadAttention(8, 2, batch_first=True), view) for view in (_to_itself, _to_another)),
        *((layer, lambda layer, x: layer(x.view(-1, 8, 8))[0]) for layer in sequences),
        (nn.Sequential(tied, nn.Tanh(), other, nn.Tanh(), tied), lambda layer, x: layer(x.view(-1, 8, 8))),
        (nn.Sequential(words, nn.Tanh(), head), lambda layer, x: layer(_words(x))),
    ]


def _flat(layer: nn.Module, x: Tensor) -> Tensor:
    found: Tensor = layer(x)
    return found


def _steps(layer: nn.Module, x: Tensor) -> Tensor:
    found: Tensor = layer(x.view(-1, 8, 8))
    return found


def _picture(layer: nn.Module, x: Tensor) -> Tensor:
    found: Tensor = layer(x.view(-1, 1, 8, 8))
    return found


def _small_picture(layer: nn.Module, x: Tensor) -> Tensor:
    found: Tensor = layer(x[:, :16].reshape(-1, 1, 4, 4))
    return found


def _volume(layer: nn.Module, x: Tensor) -> Tensor:
    found: Tensor = layer(x.view(-1, 1, 4, 4, 4))
    return found


def _to_itself(layer: nn.Module, x: Tensor) -> Tensor:
    found: Tensor = layer(*[x.view(-1, 8, 8)] * 3, need_weights=False)[0]
    return found


def _to_another(layer: nn.Module, x: Tensor) -> Tensor:
    steps = x.view(-1, 8, 8)
    found: Tensor = layer(steps[:, ::2], steps, steps, need_weights=False)[0]
    return found


def _words(x: Tensor) -> Tensor:
    """Four numbers of words, out of the record's own numbers."""
    return (x[:, :4].nan_to_num(0, 0, 0).abs() * 10).remainder(_WORDS).long()
