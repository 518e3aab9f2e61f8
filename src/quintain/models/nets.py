"""Small reference nets, and normalization as a layer."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from quintain.core.errors import SettingError
from quintain.core.registry import declare
from quintain.core.seeds import derive_seed


class Normalize(nn.Module):
    """``(x - mean) / std`` for each channel, inside the model.

    Inputs and perturbations then stay in [0, 1].

    Args:
        mean, std: One number a channel; ``std`` positive.

    Raises:
        SettingError: If they differ in length, or ``std`` is not positive.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or not len(mean) or not all(0 < s < math.inf for s in std):
            raise SettingError(
                f"mean = {tuple(mean)}, std = {tuple(std)}; expected one mean and one positive std for each "
                "channel"
            )
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        """``x`` is (B, C, H, W) or (B, C)."""
        shape = (-1, *[1] * (x.ndim - 2))
        return (x - self.mean.view(shape)) / self.std.view(shape)

    def extra_repr(self) -> str:
        return f"mean={self.mean.tolist()}, std={self.std.tolist()}"


@declare(name="xray-cnn", summary="two 4x4 convolutions of stride 2 (16, 32), then 64 units; ReLU")
def xray_cnn(num_classes: int = 2, channels: int = 1, size: int = 28, *, seed: int = 0) -> nn.Sequential:
    """Build a net of two 4x4 convolutions of stride 2, then 64 hidden units, all with ReLU.

    The convolutions have 16 and 32 channels.

    It takes (B, channels, size, size) in [0, 1] and returns (B, num_classes) logits; 109,042 parameters for
    one channel of 28x28 and two classes.

    Args:
        num_classes, channels, size: Of the data; ``size`` in pixels, at least 4.
        seed: Of the weights, which are the same for the same seed; no global generator is used.
    """
    if size < 4:
        raise SettingError(f"size = {size} pixels; expected at least 4, for two halvings")
    side = size // 2 // 2
    with torch.device("meta"):
        net = nn.Sequential(
            nn.Conv2d(channels, 16, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * side * side, 64),
            nn.ReLU(),
            nn.Linear(64, num_classes),
        )
    return initialize(net, seed)


@declare(name="mlp", summary="one hidden layer of 32 units; ReLU")
def mlp(num_classes: int = 2, channels: int = 1, size: int = 28, *, seed: int = 0) -> nn.Sequential:
    """Build a net of one hidden layer of 32 units with ReLU.

    It takes (B, channels, size, size) in [0, 1] and returns (B, num_classes) logits.
    """
    with torch.device("meta"):
        net = nn.Sequential(
            nn.Flatten(), nn.Linear(channels * size * size, 32), nn.ReLU(), nn.Linear(32, num_classes)
        )
    return initialize(net, seed)


def initialize(net: nn.Sequential, seed: int) -> nn.Sequential:
    r"""Draw the weights of Linear and Conv2d layers anew, uniform on :math:`\pm 1/\sqrt{\text{fan in}}`.

    This is PyTorch's default.

    Args:
        net: Changed in place; may be on the meta device, and is then moved to the CPU.
        seed: Each tensor has a generator of its own, from the seed and its name.
    """
    for layer in net.modules():
        for name, parameter in layer.named_parameters(recurse=False):
            if parameter.is_meta:  # not by to_empty, which imports SymPy and takes a second
                setattr(layer, name, nn.Parameter(torch.empty(parameter.shape, dtype=parameter.dtype)))
    # A generator per tensor, seeded by name: adding a layer does not change the weights of the others.
    for name, layer in net.named_modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            bound = 1 / math.sqrt(layer.weight[0].numel())
            for kind, tensor in layer.named_parameters():
                generator = torch.Generator().manual_seed(derive_seed(seed, "initialise", name, kind))
                with torch.no_grad():
                    tensor.copy_(
                        torch.empty_like(tensor, device="cpu").uniform_(-bound, bound, generator=generator)
                    )
    return net
