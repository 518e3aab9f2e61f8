"""An ordinary training script of Opacus, with one line changed: the import."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import quintain as q
from quintain.dp import PrivacyEngine  # was: from opacus import PrivacyEngine


def main() -> None:
    """Five passes over a thousand X-rays."""
    train = q.load_data("xrays").split("train")
    x, y = train.batch(torch.arange(1000))
    model: nn.Module = nn.Sequential(nn.Conv2d(1, 8, 5, stride=3), nn.Tanh(), nn.Flatten(), nn.Linear(512, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    loader = DataLoader(TensorDataset(x, y), batch_size=100, shuffle=True)

    engine = PrivacyEngine()
    model, optimizer, loader = engine.make_private(
        module=model, optimizer=optimizer, data_loader=loader, noise_multiplier=1.1, max_grad_norm=1.0
    )
    for epoch in range(5):
        for images, labels in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()
        print(f"after pass {epoch + 1}: epsilon {engine.get_epsilon(delta=1e-5):.2f} at delta 1e-5")
    model.eval()
    accuracy = (model(x).argmax(1) == y).float().mean()
    print(
        f"accuracy {accuracy:.1%}; of the larger class alone "
        f"{max(y.float().mean(), 1 - y.float().mean()):.1%}"
    )


if __name__ == "__main__":
    main()
