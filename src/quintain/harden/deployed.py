"""The net as it is when deployed, seen from the middle of training."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from quintain.models.adapters import adapt


@contextmanager
def evaluating(net: nn.Module) -> Iterator[nn.Module]:
    """``net`` in evaluation mode; each module's own mode is put back, also after an error."""
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        yield net
    finally:
        for module, training in modes:
            module.training = training


def logits(net: nn.Module, x: Tensor) -> Tensor:
    """What ``Classifier`` would make of the net's output: logits (B, K), K at least 2."""
    return adapt(net(x), len(x))
