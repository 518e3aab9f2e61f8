r"""What a site's local training sends, written so that it can be differentiated in the pictures.

Plain SGD of T steps from :math:`\theta_0` with a constant learning rate :math:`\eta` sends

.. math:: \frac{\theta_0 - \theta_T}{\eta} = \sum_{t < T} \nabla \ell(\theta_t; x_{b_t}, y_{b_t})

so that the update is a sum of gradients, each at weights that depend on the pictures of the steps before.
"""

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from quintain.core.errors import SettingError
from quintain.core.seeds import derive_seed
from quintain.models.adapters import adapt


@dataclass(frozen=True, slots=True)
class LocalSteps:
    """How a site trains in a round by plain SGD; all of it is public.

    Args:
        learning_rate: Of each step.
        batch_size: Examples of a step; all of the site's if not given.
        epochs: Passes over the site's examples, each in an order of its own.
        batch_statistics: Whether batch norms use the statistics of the batch, as in training; else those that
            were sent with the net.
    """

    learning_rate: float = 0.1
    batch_size: int | None = None
    epochs: int = 1
    batch_statistics: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < math.inf or self.epochs < 1 or (self.batch_size or 1) < 1:
            raise SettingError(
                f"learning_rate = {self.learning_rate}, batch_size = {self.batch_size}, epochs = "
                f"{self.epochs}; expected a positive rate and at least one of each"
            )

    def num_steps(self, examples: int) -> int:
        """Return how many steps a site with so many examples takes."""
        return self.epochs * -(-examples // (self.batch_size or examples))

    def has_orders(self, examples: int) -> bool:
        """Return whether the update depends on the order of the examples, which the site does not tell."""
        return (self.batch_size or examples) < examples

    def batches(self, examples: int, *, seed: int | None = None) -> Iterator[tuple[int, Tensor]]:
        """Yield the epoch and the rows of each step.

        Args:
            examples: How many the site has.
            seed: Of the orders; the rows are taken as they come if not given.
        """
        size = self.batch_size or examples
        for epoch in range(self.epochs):
            rows = torch.arange(examples)
            if seed is not None:
                generator = torch.Generator().manual_seed(derive_seed(seed, "local-order", epoch))
                rows = torch.randperm(examples, generator=generator)
            yield from ((epoch, batch) for batch in rows.split(size))


ONE_STEP = LocalSteps()
"""One step on all of a site's examples, which sends their mean gradient (FedSGD)."""


def client_net(net: nn.Module, local: LocalSteps) -> nn.Module:
    """Return a copy of a net in the mode in which sites run it: dropout is off."""
    made = copy.deepcopy(net).requires_grad_(True).eval()
    for module in made.modules():
        if isinstance(module, _BatchNorm):
            module.train(local.batch_statistics)
    return made


def local_update(
    net: nn.Module,
    steps: Sequence[tuple[Tensor, Tensor]],
    learning_rate: float,
    *,
    differentiable: bool = False,
) -> Tensor:
    """Return the update (length,) of a site that takes SGD steps on cross-entropy.

    Args:
        net: The net that was sent, in the mode of ``client_net``; it is left as it is.
        steps: Inputs (b, *S) and labels (b,) of each step.
        learning_rate: Of each step.
        differentiable: Whether the result can be differentiated in the inputs.
    """
    weights: dict[str, Tensor] = dict(net.named_parameters())
    buffers = {name: buffer.clone() for name, buffer in net.named_buffers()}
    total: Tensor | None = None
    for x, y in steps:
        output = torch.func.functional_call(net, (weights, buffers), (x.clone(),))
        loss = nn.functional.cross_entropy(adapt(output, len(x)), y)
        parts = torch.autograd.grad(
            loss, list(weights.values()), create_graph=differentiable, materialize_grads=True
        )
        flat = torch.cat([part.flatten() for part in parts])
        total = flat if total is None else total + flat
        moved = (weight - learning_rate * part for weight, part in zip(weights.values(), parts, strict=True))
        weights = dict(zip(weights, moved, strict=True))
        if not differentiable:
            weights = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
    if total is None:
        raise SettingError("a site that takes no step; expected at least one")
    return total


def site_update(net: nn.Module, x: Tensor, y: Tensor, local: LocalSteps, *, seed: int = 0) -> Tensor:
    """Return what a site with examples ``x`` (n, *S) and labels ``y`` (n,) sends: (length,), on the CPU.

    Args:
        net: The net that was sent to it.
        x, y: Its examples.
        local: How it trains.
        seed: Of the order of its examples.
    """
    made = client_net(net, local)
    device = next(made.parameters()).device
    x, y = x.to(device, next(made.parameters()).dtype), y.to(device)
    batches = [rows.to(device) for _, rows in local.batches(len(x), seed=seed)]
    steps = [(x[rows], y[rows]) for rows in batches]
    return local_update(made, steps, local.learning_rate).detach().cpu()
