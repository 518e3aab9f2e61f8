"""What every rule of a layer must keep."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from quintain.dp import PrivacyEngine
from quintain.dp.per_example.grads import PerExampleGrads
from quintain.dp.step.clipping_weights import clipping_weights


def check_bounded(
    net: nn.Module, dtype: torch.dtype, *, scale: float, bound: float, left: int, seed: int
) -> None:
    """No record moves the sum by more than the bound, whatever the rounding; the sum is the sum of these."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(5, 1, 4, 4, generator=generator, dtype=torch.float64) * scale
    x = x.abs().long() % 7 if dtype is torch.long else x
    y = torch.randint(0, 3, (5,), generator=generator)
    added, whole, order = contributions(net.double(), x, y, bound)
    limit = bound * (1 + 1e-6)
    assert float(added.norm(dim=1).max()) <= limit
    assert float((whole - added.sum(0)).norm()) <= len(x) * order + 1e-9 * bound
    keep = torch.arange(5) != left
    others, without, _ = contributions(net, x[keep], y[keep], bound)
    rounded = float((added[keep] - others).norm(dim=1).sum())
    assert float((whole - without).norm()) <= limit + rounded + 2 * len(x) * order
    assert rounded <= 1e-6 * bound or scale > 1e4


def contributions(
    net: nn.Module, x: torch.Tensor, y: torch.Tensor, bound: float
) -> tuple[torch.Tensor, torch.Tensor, float]:
    """What each record adds to the sum of a step on all of them, (B, P); the sum that is released, (P,); what
    its order may change.
    """
    module, optimizer, loader = PrivacyEngine().make_private(
        module=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=0.0),
        data_loader=DataLoader(TensorDataset(x, y), batch_size=len(x)),
        noise_multiplier=0.0,
        max_grad_norm=bound,
        allow_no_privacy=True,
    )
    rows, labels = next(iter(loader))
    nn.functional.cross_entropy(module(rows), labels).backward()
    found, weights, _ = clipping_weights(
        optimizer.params, optimizer.capture.pending[0], optimizer.clip, mean=True
    )
    added = [
        torch.cat([_alone(found[p], weight, i) for p, weight in zip(optimizer.params, weights, strict=True)])
        for i in range(len(x))
    ]
    order = sum(
        float((weight * found[p].rounding_bound()).sum())
        for p, weight in zip(optimizer.params, weights, strict=True)
    )
    optimizer.step()
    optimizer.capture.remove()
    total = torch.cat([p.grad.flatten() for p in net.parameters()]) * len(x)
    net.zero_grad()
    return torch.stack(added), total, order


def _alone(gradients: PerExampleGrads, weights: torch.Tensor, record: int) -> torch.Tensor:
    into = torch.zeros(gradients.shape, dtype=torch.float64)
    gradients.add_weighted_sum_to(into, torch.where(torch.arange(len(weights)) == record, weights, 0))
    return into.flatten()
