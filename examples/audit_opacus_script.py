"""Audit an ordinary training script of Opacus: the audits find nothing against the epsilon that it claims."""

import numpy as np
import torch
import torch.nn.functional as F
from audited.dp_sgd import show
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

try:
    from opacus import PrivacyEngine
except ImportError:
    from quintain.dp import PrivacyEngine

SAMPLE_RATE, NOISE_MULTIPLIER, EPOCHS, DELTA = 0.1, 1.5, 2, 1e-5


def private_steps(net: nn.Module, dataset: TensorDataset) -> float:
    """Train a net in place, and return the epsilon that the library claims for it."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    loader = DataLoader(dataset, batch_size=max(1, round(SAMPLE_RATE * len(dataset))), shuffle=True)
    engine = PrivacyEngine()
    model, optimizer, loader = engine.make_private(
        module=net,
        optimizer=optimizer,
        data_loader=loader,
        noise_multiplier=NOISE_MULTIPLIER,
        max_grad_norm=1.0,
    )
    for _ in range(EPOCHS):
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    return float(engine.get_epsilon(delta=DELTA))


def train(dataset: TensorDataset, seed: int) -> nn.Module:
    """Train a net from a seed: the training that is audited as a black box."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.Tanh(), nn.Linear(16, 2))
    private_steps(net, dataset)
    return net


def release(records: np.ndarray, _rng: np.random.Generator) -> np.ndarray:
    """Return the weights of a small net after training: what is audited as a mechanism.

    Of all records only the target has a gradient, so the weights are noise and the target's contribution.
    """
    net = nn.Linear(2, 2, bias=False)
    nn.init.zeros_(net.weight)
    x, y = torch.tensor(records[:, :2]).float(), torch.tensor(records[:, 2]).long()
    private_steps(net, TensorDataset(x, y))
    return net.weight.detach().flatten().numpy()


def neighbors() -> tuple[np.ndarray, np.ndarray]:
    """Return two neighboring inputs of the mechanism: blank records and a target, and blank records alone.

    A blank record has gradient 0, so replacing the target by one is the same as removing it. The number of
    records stays the same: Opacus derives its sampling rate and divisor from it and treats it as public.
    """
    blank = np.zeros((20, 3))
    return np.vstack([blank[1:], [[10.0, 0.0, 1.0]]]), blank


if __name__ == "__main__":
    claim = private_steps(nn.Linear(2, 2), TensorDataset(torch.zeros(100, 2), torch.zeros(100).long()))
    show(train, release, neighbors(), claim, runs=100)
