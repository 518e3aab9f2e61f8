r"""Layers that are 1-Lipschitz in L2 in exact arithmetic, to train with; then folded into plain ones.

Almost orthogonal layers rescale each input of a weight W,

.. math:: W D, \qquad D = \mathrm{diag}\Big(\sum_j |W^T W|_{ij}\Big)^{-1/2}, \qquad \|W D\|_2 \le 1

(Prach and Lampert, 2022, arXiv:2208.03160). A convolution is such a product for each place; one with stride s
is one of stride 1 over the s x s pixels that share a place. SDP-based layers are residual:

.. math:: x - 2 W T^{-1} \mathrm{ReLU}(W^T x + b), \qquad
    T = \mathrm{diag}\Big(\sum_j |W^T W|_{ij}\, q_j / q_i\Big)

with weights q > 0 that are trained too (Araujo et al., 2023, arXiv:2303.03169).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quintain.core.errors import ModelError

SMALLEST = 1e-12
"""Of an input that no weight reads, the sum of products counts as this."""


class AOLLinear(nn.Linear):
    """A linear layer that is 1-Lipschitz in exact arithmetic; see ``fold`` for the plain one that it is."""

    def rescaled(self) -> Tensor:
        """Return the weight that is applied."""
        return self.weight * (self.weight.T @ self.weight).abs().sum(0).clamp(min=SMALLEST).rsqrt()

    def forward(self, input: Tensor) -> Tensor:
        """Return the rescaled product, with the bias."""
        return F.linear(input, self.rescaled(), self.bias)


class AOLConv2d(nn.Conv2d):
    """A zero-padded convolution that is 1-Lipschitz in exact arithmetic; ``fold`` gives the plain one.

    Raises:
        ModelError: If it has groups, dilation or other padding.
    """

    def rescaled(self) -> Tensor:
        """Return the kernel that is applied."""
        if self.groups != 1 or self.dilation != (1, 1) or self.padding_mode != "zeros":
            raise ModelError(
                f"AOLConv2d with groups = {self.groups}, dilation = {self.dilation} and padding_mode = "
                f"{self.padding_mode!r}; expected 1, (1, 1) and 'zeros'"
            )
        (high, wide), (down, right) = self.stride, self.kernel_size
        # the stride's pixels beside each other as channels: a kernel of ceil(k / s) and stride 1
        padded = F.pad(self.weight, (0, -right % wide, 0, -down % high))
        split = padded.unflatten(3, (-1, wide)).unflatten(2, (-1, high)).permute(1, 3, 5, 0, 2, 4)
        kernel = split.flatten(0, 2)  # (C s s, O, a, b)
        products = F.conv2d(kernel, kernel, padding=(kernel.shape[2] - 1, kernel.shape[3] - 1))
        scale = products.abs().sum((1, 2, 3)).clamp(min=SMALLEST).rsqrt().view(-1, high, wide)
        tiles = scale.repeat(1, -(-down // high), -(-right // wide))[:, :down, :right]
        return self.weight * tiles

    def forward(self, input: Tensor) -> Tensor:
        """Return the rescaled convolution."""
        return F.conv2d(input, self.rescaled(), self.bias, self.stride, self.padding)


class SLLLinear(nn.Module):
    """A residual layer that is 1-Lipschitz in exact arithmetic; ``fold`` gives the plain block that it is.

    Args:
        features: Of inputs and outputs (B, features).
        hidden: Units inside; as many as features if not given.
    """

    def __init__(self, features: int, hidden: int | None = None) -> None:
        super().__init__()
        hidden = features if hidden is None else hidden
        self.weight = nn.Parameter(torch.empty(hidden, features))
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.log_q = nn.Parameter(torch.zeros(hidden))
        nn.init.xavier_normal_(self.weight)

    def rescaled(self) -> Tensor:
        """Return the second weight (features, hidden), with its sign."""
        # logarithms: weights q may lie far apart, and their ratios beyond the type's range
        products = (self.weight @ self.weight.T).abs().clamp(min=torch.finfo(self.weight.dtype).tiny)
        dominance = torch.logsumexp(products.log() + self.log_q, dim=1) - self.log_q
        return -2 * self.weight.T * (-dominance).exp()

    def forward(self, input: Tensor) -> Tensor:
        """Return the input less what the hidden units add up to."""
        return input + F.linear(F.linear(input, self.weight, self.bias).relu(), self.rescaled())


class ResidualBlock(nn.Module):
    """The sum of a value and of what a net makes of it.

    Args:
        inner: Takes and gives (B, features).
    """

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, input: Tensor) -> Tensor:
        """Return the sum."""
        return input + self.inner(input)


def fold(net: nn.Module) -> nn.Module:
    """Replace 1-Lipschitz layers by the plain layers that they are, in place, and return the net.

    The weights are those that were applied, rounded once to their type: certify the result, whose norms may
    exceed 1 by rounding.
    """
    return _fold(net, {})


def _fold(net: nn.Module, folded: dict[nn.Module, nn.Module]) -> nn.Module:
    """Fold a net; a layer that occurs twice is one layer afterwards, too."""
    if net not in folded:
        if isinstance(net, AOLLinear | AOLConv2d):
            folded[net] = _plain(net)
        elif isinstance(net, SLLLinear):
            folded[net] = _plain_block(net)
        else:
            folded[net] = net
            for name, layer in net._modules.items():
                if layer is not None:
                    setattr(net, name, _fold(layer, folded))
    return folded[net]


@torch.no_grad()
def _plain(layer: AOLLinear | AOLConv2d) -> nn.Module:
    made: nn.Module
    if isinstance(layer, AOLLinear):
        made = nn.Linear(layer.in_features, layer.out_features, layer.bias is not None)
    else:
        made = nn.Conv2d(
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size,  # type: ignore[arg-type]
            layer.stride,  # type: ignore[arg-type]
            layer.padding,  # type: ignore[arg-type]
            bias=layer.bias is not None,
        )
    made.to(layer.weight)
    made.weight.copy_(layer.rescaled())
    if layer.bias is not None and made.bias is not None:
        made.bias.copy_(layer.bias)
    return made.train(layer.training)


@torch.no_grad()
def _plain_block(layer: SLLLinear) -> nn.Module:
    hidden, features = layer.weight.shape
    first, second = nn.Linear(features, hidden), nn.Linear(hidden, features, bias=False)
    block = ResidualBlock(nn.Sequential(first, nn.ReLU(), second)).to(layer.weight)
    first.weight.copy_(layer.weight)
    first.bias.copy_(layer.bias)
    second.weight.copy_(layer.rescaled())
    return block.train(layer.training)
