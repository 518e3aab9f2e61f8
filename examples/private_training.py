"""Private training by one typed call: settings for a target epsilon, an ordinary loop, and what it cost."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import quintain as q

EPSILON, DELTA, BATCH, EPOCHS = 3.0, 1e-5, 100, 5


def main() -> None:
    """Five passes over a thousand X-rays."""
    x, y = q.load_data("xrays").split("train").batch(torch.arange(1000))
    net = nn.Sequential(nn.Conv2d(1, 8, 5, stride=3), nn.Tanh(), nn.Flatten(), nn.Linear(512, 2))

    settings = q.dp.PrivacySettings.for_epsilon(
        EPSILON, DELTA, num_units=len(x), expected_batch_size=BATCH, epochs=EPOCHS
    )
    private = q.dp.make_private(
        net,
        torch.optim.SGD(net.parameters(), lr=0.5, momentum=0.9),
        DataLoader(TensorDataset(x, y), batch_size=BATCH),
        settings,
    )
    for _ in range(EPOCHS):
        for images, labels in private.loader:
            private.optimizer.zero_grad()
            F.cross_entropy(net(images), labels).backward()
            private.optimizer.step()
    print(f"{private.ledger.steps} steps with noise multiplier {settings.noise_multiplier:.2f}")
    print(private.guarantee(DELTA).text)
    for assumption in private.report.assumptions[:2]:
        print(f"assumed: {assumption}")
    accuracy = (private.detach().eval()(x).argmax(1) == y).float().mean()
    print(f"accuracy {accuracy:.1%}")


if __name__ == "__main__":
    main()
