"""Modules that hold parameters themselves, for tests of layers without a rule."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm


class Scale(nn.Module):
    """Broadcast weights."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight, self.shift = nn.Parameter(torch.randn(size)), nn.Parameter(torch.randn(1))

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.weight + self.shift).tanh()


class LogitScale(nn.Module):
    """A weight of no dimension, over a layer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.last = nn.Parameter(torch.tensor(1.5)), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(x) * self.scale.exp()


class Vision(nn.Module):
    """A small vision transformer, the owner of class token and positions."""

    def __init__(self, attention: bool = False) -> None:
        super().__init__()
        self.cut = nn.Conv2d(1, 4, 2, 2)
        self.token, self.places = nn.Parameter(torch.randn(1, 1, 4)), nn.Parameter(torch.randn(1, 5, 4))
        self.norm, self.mid, self.head = nn.LayerNorm(4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True) if attention else None

    def forward(self, x: Tensor) -> Tensor:
        z = self.cut(x).flatten(2).mT
        z = torch.cat([self.token.expand(len(x), -1, -1), z], 1) + self.places
        if self.attention:
            z = z + self.attention(z, z, z, need_weights=False)[0]
        z = z + F.softmax(z @ z.mT, -1) @ self.mid(self.norm(z)).relu()
        return self.head(z[:, 0])


class Lists(nn.Module):
    """Parameters in a list and a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.several = nn.ParameterList([torch.randn(4, 4), torch.randn(4)])
        self.named = nn.ParameterDict({"scale": torch.randn(4)})

    def forward(self, x: Tensor) -> Tensor:
        return (x @ self.several[0] + self.several[1]).tanh() * self.named["scale"]


class Borrowed(nn.Module):
    """Weights of a layer, also used without calling it."""

    def __init__(self, own: bool) -> None:
        super().__init__()
        self.layer, self.unused = nn.Linear(4, 4), nn.Linear(4, 4)
        self.scale = nn.Parameter(torch.randn(4)) if own else 1.0

    def forward(self, x: Tensor) -> Tensor:
        return (
            self.scale * (self.layer(x).tanh() @ self.layer.weight) + self.layer(x.sin()) + self.layer.bias**2
        )


class Alone(Borrowed):
    """A borrower without parameters of its own."""

    def __init__(self) -> None:
        super().__init__(own=False)
        del self.unused


class Nested(nn.Module):
    """An owner in an owner, beside a layer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.inner, self.last = nn.Parameter(torch.randn(4)), Borrowed(own=True), nn.Linear(4, 2)
        del self.inner.unused

    def forward(self, x: Tensor, shift: Tensor | None = None) -> Tensor:
        y = self.inner(x + self.token)
        return self.last(self.inner(y * self.token)) @ self.inner.layer.weight[:2, :3]


class TwoInputs(nn.Module):
    """Tensors by position and by name, beside numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4))

    def forward(self, x: Tensor, scale: float, *, other: Tensor) -> Tensor:
        return (x * self.weight * scale + other).sin()


class Caller(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = TwoInputs()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x, 0.5, other=x.cos())


NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "broadcast weights": (lambda: Scale(4), (4,)),
    "broadcast weights on sequences": (
        lambda: nn.Sequential(nn.Linear(4, 4), Scale(4), nn.Linear(4, 2)),
        (3, 4),
    ),
    "vision transformer": (Vision, (1, 4, 4)),
    "vision transformer with attention": (lambda: Vision(attention=True), (1, 4, 4)),
    "lists": (Lists, (4,)),
    "an owner in an owner": (Nested, (4,)),
    "a weight of no dimension": (LogitScale, (4,)),
    "several inputs": (Caller, (4,)),
    "weight norm": (lambda: nn.Sequential(weight_norm(nn.Linear(4, 3)), nn.Tanh()), (4,)),
    "weight norm of a convolution": (lambda: weight_norm(nn.Conv1d(2, 3, 2, bias=False)), (2, 4)),
}
