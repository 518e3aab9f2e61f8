"""Train to a target epsilon: the noise follows from it, and training ends before it is exceeded."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import quintain as q
from quintain.dp import PrivacyEngine
from quintain.dp.training.features import extract_features
from quintain.dp.training.scattering import Scattering
from quintain.training.ema import EMA

EPSILON, DELTA, EPOCHS = 3.0, 1e-5, 5


def main() -> None:
    """Train a linear layer on scattering features of 600 X-rays, for epsilon 3."""
    train = q.load_data("xrays").split("train").subset(range(600))
    features = extract_features(
        nn.Sequential(Scattering(28), nn.GroupNorm(27, 81, affine=False), nn.Flatten()).eval(), train
    )
    net: nn.Module = nn.Linear(features.x.shape[1], 2)

    engine = PrivacyEngine()
    net, optimizer, loader = engine.make_private_with_epsilon(
        module=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=4.0, momentum=0.9),
        data_loader=DataLoader(TensorDataset(features.x, features.y), batch_size=150),
        target_epsilon=EPSILON,
        target_delta=DELTA,
        epochs=EPOCHS,
        max_grad_norm=0.1,
        stop_at_epsilon=(EPSILON, DELTA),
    )
    average = EMA(net, decay=0.8)
    print(f"noise multiplier {optimizer.noise_multiplier:.2f} for {EPOCHS * len(loader)} steps")
    # One epoch more than planned: stop_at_epsilon ends it before it spends more.
    for epoch in range(EPOCHS + 1):
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
            average.update()
        with average.applied(), torch.no_grad():
            accuracy = (net(features.x).argmax(1) == features.y).float().mean()
        print(
            f"after epoch {epoch + 1}: {engine.ledger.steps} steps, epsilon {engine.get_epsilon(DELTA):.2f}, "
            f"accuracy {accuracy:.1%}"
        )


if __name__ == "__main__":
    main()
