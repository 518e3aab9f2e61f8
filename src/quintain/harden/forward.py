"""Forward passes during training: in evaluation mode, and to logits as ``Classifier`` returns them."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from quintain.models.adapters import adapt


@contextmanager
def eval_mode(net: nn.Module) -> Iterator[nn.Module]:
    """Put ``net`` into evaluation mode, and restore each module's own mode on exit, also after an error."""
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        yield net
    finally:
        for module, training in modes:
            module.training = training


def forward_logits(net: nn.Module, x: Tensor) -> Tensor:
    """Return the net's logits (B, K), K at least 2, as ``Classifier`` would."""
    return adapt(net(x), len(x))
