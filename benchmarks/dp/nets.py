"""The nets, data and losses that private steps are timed on."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Task:
    """A net and batches of inputs and labels to train it on.

    Args:
        name: Name of the row.
        net: Makes the net.
        batch: Makes inputs and labels of so many examples.
        size: Batch size.
        noisy: Whether the plain side of the comparison includes one draw of the noise.
    """

    name: str
    net: Callable[[], nn.Module]
    batch: Callable[[int], tuple[Tensor, Tensor]]
    size: int
    noisy: bool = False


def mnist_cnn(classes: int = 10) -> nn.Module:
    """The CNN of Tramer and Boneh (2021, arXiv:2011.11660), 26 k weights."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 8, 2, 2),
        nn.Tanh(),
        nn.MaxPool2d(2, 1),
        nn.Conv2d(16, 32, 4, 2),
        nn.Tanh(),
        nn.MaxPool2d(2, 1),
        nn.Flatten(),
        nn.Linear(512, 32),
        nn.Tanh(),
        nn.Linear(32, classes),
    )


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.GroupNorm(8, outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.GroupNorm(8, outputs)
        self.short = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm2(self.second(F.relu(self.norm1(self.first(x))))) + self.short(x))


def resnet20() -> nn.Module:
    """ResNet-20 with GroupNorm, 0.27 M weights."""
    blocks = [
        Block(i, o, s)
        for i, o, s in ((16, 16, 1),) * 3
        + ((16, 32, 2),)
        + ((32, 32, 1),) * 2
        + ((32, 64, 2),)
        + ((64, 64, 1),) * 2
    ]
    stem = (nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.GroupNorm(8, 16), nn.ReLU())
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


class Layer(nn.Module):
    """A transformer's layer of Linear and LayerNorm alone, so that every library can train it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        x = x + self.out(
            F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, length, width)
        )
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Transformer(nn.Module):
    """Tokens in, one of ten classes out; two layers of width 128."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5000, 128)
        self.layers = nn.Sequential(Layer(128, 4), Layer(128, 4))
        self.head = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(self.table(x)).mean(1))


class Recurrent(nn.Module):
    """Tokens in, one of ten classes out; one LSTM of 128."""

    def __init__(self, lstm: Callable[..., nn.Module] = nn.LSTM) -> None:
        super().__init__()
        self.table = nn.Embedding(1000, 64)
        self.lstm = lstm(64, 128, batch_first=True)
        self.head = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(self.table(x))[0][:, -1])


def mlp() -> nn.Module:
    """784-1024-1024-10, 1.8 M weights."""
    return nn.Sequential(
        nn.Linear(784, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 10)
    )


class Bag(nn.Module):
    """A bag of tokens in, one of ten classes out; a table of 100,000 rows of 32."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.EmbeddingBag(100_000, 32, mode="mean")
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.table(x))


def images(*shape: int) -> Callable[[int], tuple[Tensor, Tensor]]:
    """Return a function that makes random images and labels."""
    return lambda size: (torch.rand(size, *shape), torch.randint(0, 10, (size,)))


def tokens(vocabulary: int, length: int) -> Callable[[int], tuple[Tensor, Tensor]]:
    """Return a function that makes random tokens and labels."""
    return lambda size: (torch.randint(0, vocabulary, (size, length)), torch.randint(0, 10, (size,)))


TASKS = (
    Task("MNIST CNN, batch 256", mnist_cnn, images(1, 28, 28), 256),
    Task("ResNet-20 with GroupNorm, batch 64", resnet20, images(3, 32, 32), 64),
    Task("transformer of 2 layers, 64 tokens, batch 64", Transformer, tokens(5000, 64), 64),
    Task("LSTM, 64 tokens, batch 64", Recurrent, tokens(1000, 64), 64),
    Task("MLP of 1.8 M weights, batch 256", mlp, images(784), 256, noisy=True),
    Task("embedding bag of 100,000 rows, batch 256", Bag, tokens(100_000, 50), 256, noisy=True),
)
