"""A net that was trained on public pictures is fitted to private ones by low-rank updates: few weights,
little noise.
"""

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

import quintain as q
from quintain.dp import PrivacyEngine
from quintain.dp.training.lora import add_lora, merge_lora
from quintain.models.nets import xray_cnn
from quintain.training import Recipe, fit
from quintain.training.ema import EMA


def main() -> None:
    """The first 200 X-rays stand for public ones, the next 1,000 are private."""
    train = q.load_data("xrays").split("train")
    net = xray_cnn()
    fit(net, train.subset(range(200)), Recipe(epochs=20, batch_size=32, learning_rate=2e-3))
    x, y = train.batch(torch.arange(200, 1200))
    whole = sum(parameter.numel() for parameter in net.parameters())
    print(f"before: accuracy {(net(x).argmax(1) == y).float().mean():.1%}")

    layers = add_lora(net, rank=2)
    few = sum(parameter.numel() for parameter in net.parameters() if parameter.requires_grad)
    print(f"updates beside {', '.join(layers)}: {few} weights to train instead of {whole}")
    engine = PrivacyEngine()
    private, optimizer, loader = engine.make_private(
        module=net.train(),
        optimizer=torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.5, momentum=0.9),
        data_loader=DataLoader(TensorDataset(x, y), batch_size=250),
        noise_multiplier=3.0,
        max_grad_norm=1.0,
    )
    average = EMA(net, decay=0.9)
    for _ in range(15):
        for images, labels in loader:
            optimizer.zero_grad()
            F.cross_entropy(private(images), labels).backward()
            optimizer.step()
            average.update()
    average.apply()
    optimizer.capture.remove()
    merge_lora(net).eval()
    print(
        f"after: accuracy {(net(x).argmax(1) == y).float().mean():.1%} for epsilon "
        f"{engine.get_epsilon(delta=1e-5):.2f} at delta 1e-5"
    )


if __name__ == "__main__":
    main()
