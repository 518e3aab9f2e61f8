"""A patient with several X-rays is hidden with all of them: units are drawn, clipped and counted, not
pictures.
"""

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

import quintain as q
from quintain.dp import PrivacyEngine
from quintain.dp.sampling.privacy_units import PrivacyUnits
from quintain.models.nets import xray_cnn


def main() -> None:
    """1,000 X-rays of some 300 patients, made up by chance since the data set names none."""
    train = q.load_data("xrays").split("train")
    x, y = train.batch(torch.arange(1000))
    patients = torch.randint(300, (1000,), generator=torch.Generator().manual_seed(0))
    net = xray_cnn()

    engine = PrivacyEngine()
    net, optimizer, loader = engine.make_private(
        module=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=0.5),
        data_loader=DataLoader(TensorDataset(x, y), batch_size=200),
        noise_multiplier=1.5,
        max_grad_norm=1.0,
        units=PrivacyUnits(patients, name="patient", average_records=True),
    )
    for images, labels in loader:
        optimizer.zero_grad()
        F.cross_entropy(net(images), labels).backward()
        optimizer.step()
    print(
        f"{loader.num_units} patients with up to {int(torch.bincount(patients).max())} X-rays, "
        f"{loader.expected_batch_size} in a batch"
    )
    print(
        f"epsilon {engine.get_epsilon(delta=1e-4):.2f} at delta 1e-4 for adding or removing one patient with "
        "all X-rays"
    )


if __name__ == "__main__":
    main()
