"""The ordinary training loop, made private by one call."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import quintain as q


def main() -> None:
    """Train with DP-SGD for two passes, and say what it cost."""
    train = q.load_data("xrays").part("train")
    x, y = train.batch(torch.arange(1000))
    net: nn.Module = nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.ReLU(), nn.Linear(16, 2))

    engine = q.dp.PrivacyEngine()
    net, optimizer, loader = engine.make_private(
        module=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=0.5),
        data_loader=DataLoader(TensorDataset(x, y), batch_size=100),
        noise_multiplier=1.1,
        max_grad_norm=1.0,
    )
    for _ in range(2):
        for images, labels in loader:
            optimizer.zero_grad()
            F.cross_entropy(net(images), labels).backward()
            optimizer.step()
    print(f"epsilon {engine.get_epsilon(delta=1e-5):.2f} at delta 1e-5")


if __name__ == "__main__":
    main()
