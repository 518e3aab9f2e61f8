"""Load models and data of the shared folder, and count the passes through a net."""

import os
from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional

import quintain as q
from quintain.data.dataset import Dataset
from quintain.models.weights import load_weights

FOLDER = Path(os.environ.get("QUINTAIN_SHARED", "../shared"))


def path(name: str) -> Path:
    """Return a file of the shared folder.

    Raises:
        SystemExit: If it is not there.
    """
    found = FOLDER / name
    if not found.exists():
        raise SystemExit(
            f"{found} is not there; set QUINTAIN_SHARED to the folder that holds data/ and models/"
        )
    return found


class LeNet5(nn.Module):
    """The small MNIST net of the shared weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 32, 3, padding=1), nn.Conv2d(32, 64, 3, padding=1)
        self.linear1, self.linear2 = nn.Linear(3136, 200), nn.Linear(200, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, 10)."""
        x = functional.max_pool2d(functional.relu(self.conv1(x)), 2)
        x = functional.max_pool2d(functional.relu(self.conv2(x)), 2)
        return self.linear2(functional.relu(self.linear1(x.flatten(1))))


def lenet(training: str) -> nn.Module:
    """Return the LeNet trained plainly (``cln``) or adversarially (``adv``)."""
    net = LeNet5()
    load_weights(net, path(f"models/mnist_lenet5_{training}trained.safetensors"))
    return net.eval().requires_grad_(False)


def mnist() -> Dataset:
    """Return the test split of MNIST."""
    return q.load_data(str(path("data/MNIST/raw"))).split("test")


class Counted(nn.Module):
    """A net that counts the examples of its forward and backward passes, whichever library calls it."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.forwards, self.backwards = net, 0, 0

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K)."""
        self.forwards += len(x)
        logits: Tensor = self.net(x)
        if logits.requires_grad:
            logits.register_hook(self._backward)
        return logits

    def _backward(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)
