"""A net that nothing breaks, which remembers what it was asked, and the gradients that attacks follow on
it.
"""

import torch
from torch import Tensor

from quintain.testing import batch_invariant_net, random_inputs


class Watched:
    """Keeps every batch that it is shown."""

    def __init__(self, features: int) -> None:
        self.net = batch_invariant_net(features, 3, seed=1, lead=50.0)
        self.asked: list[Tensor] = []

    def __call__(self, z: Tensor) -> Tensor:
        self.asked.append(z.detach().clone())
        return self.net(z)

    def slope(self, z: Tensor) -> Tensor:
        """The gradient of the log odds against class 0, which has the direction of the cross-entropy's."""
        z = z.clone().requires_grad_()
        logits = self.net(z)
        (gradient,) = torch.autograd.grad((logits[:, 1:].logsumexp(1) - logits[:, 0]).sum(), z)
        return gradient


def scene(*shape: int, count: int = 5) -> tuple[Watched, Tensor, Tensor]:
    """The net, some inputs and their labels."""
    x = random_inputs(count, *shape, seed=4)
    return Watched(x[0].numel()), x, torch.zeros(count, dtype=torch.long)
