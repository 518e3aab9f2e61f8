"""Big batches need less noise for each record; pieces of them need little memory."""

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

import quintain as q
from quintain.dp import PrivacyEngine
from quintain.models.nets import xray_cnn

BATCH, IN_MEMORY = 1000, 100


def main() -> None:
    """Batches of a thousand X-rays, a hundred of them in memory at a time."""
    train = q.load_data("xrays").split("train")
    net = xray_cnn()
    engine = PrivacyEngine()
    net, optimizer, loader = engine.make_private(
        module=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=0.5, momentum=0.5),
        data_loader=DataLoader(TensorDataset(*train.tensors), batch_size=BATCH),
        noise_multiplier=2.0,
        max_grad_norm=1.0,
        max_physical_batch_size=IN_MEMORY,
    )
    pieces = largest = 0
    for x, y in loader:
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
        pieces, largest = pieces + 1, max(largest, len(x))
    print(
        f"{pieces} pieces of at most {largest} X-rays made {engine.ledger.steps} steps on batches of {BATCH} "
        "on average"
    )
    for batch in (100, BATCH):
        sigma = q.dp.calibrate_noise_multiplier(3.0, 1e-5, batch / len(train), 300)
        print(
            f"batch {batch:4}: epsilon 3 in 300 steps takes noise {sigma:.2f}, which is {sigma / batch:.4f} "
            "for each record of the mean"
        )


if __name__ == "__main__":
    main()
