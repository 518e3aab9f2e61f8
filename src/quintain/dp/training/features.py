"""Features of a frozen net, computed once; a linear layer on top trains quickly and costs little privacy."""

from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from quintain.core.errors import ModelError
from quintain.models.adapters import find_logits


class LabeledRecords(Protocol):
    """Labeled records by index: a ``Dataset``, or features of one."""

    def __len__(self) -> int:
        """The number of records."""

    def batch(self, ids: Any) -> tuple[Tensor, Tensor]:
        """The inputs and labels of these rows."""


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Features and labels in memory.

    They take 4 bytes a number: 0.95 GB for the scattering features of 60,000 images of 28x28.

    Args:
        x: Features (N, *F), float32.
        y: Labels (N,).
    """

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, ids: Any) -> tuple[Tensor, Tensor]:
        """The rows ``ids``, in this order."""
        rows = torch.as_tensor(ids)
        return self.x[rows], self.y[rows]


def extract_features(
    net: nn.Module, data: LabeledRecords, *, layer: str | None = None, batch_size: int = 128
) -> Features:
    """The output of a frozen net, or of one of its layers, for each record.

    Args:
        net: In evaluation mode, so that each record is processed by itself.
        data: N records.
        layer: Name of the layer whose output is taken, as in ``net.named_modules()``; by default the net's
            own output. Of a dict, tuple or object, what ``adapt`` would take.
        batch_size: Records at a time.

    Guarantee: costs nothing, if the net was made without ``data``: with public data, or no data at all.

    Raises:
        ModelError: If the net is in training mode, or has no such layer.
    """
    if net.training:
        raise ModelError(
            f"got {type(net).__name__} in training mode; expected net.eval(): features are not to depend on "
            "the other records"
        )
    device = next((tensor.device for tensor in chain(net.parameters(), net.buffers())), torch.device("cpu"))
    outputs: list[Tensor] = []
    if layer is not None and layer not in dict(net.named_modules()):
        raise ModelError(
            f"got the layer {layer!r}; expected one of "
            f"{', '.join(name for name, _ in net.named_modules() if name)}"
        )
    hooked = net if layer is None else net.get_submodule(layer)
    # copies: what follows a layer may write into its output (ReLU in place)
    handle = hooked.register_forward_hook(
        lambda _module, _args, output: outputs.append(find_logits(output).to(torch.float32, copy=True))
    )
    x: Tensor | None = None
    labels = []
    try:
        with torch.no_grad():
            for start in range(0, len(data), batch_size):
                outputs.clear()
                ids = np.arange(start, min(start + batch_size, len(data)))
                inputs, y = data.batch(ids)
                net(inputs.to(device, copy=True))
                features = outputs[-1].cpu()
                x = torch.empty(len(data), *features.shape[1:]) if x is None else x
                x[start : start + len(features)] = features
                labels.append(y)
    finally:
        handle.remove()
    assert x is not None
    return Features(x, torch.cat(labels))
