"""Compare an epoch of private training with Opacus' hooks and ghost clipping, on the same settings."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

import quintain as q
from benchmarks.harness import TimedComparison, compare_times
from quintain.models.nets import xray_cnn

BATCH = 512
SIGMA, CLIP = 1.1, 1.0


def run() -> Iterator[TimedComparison]:
    """Time one epoch of Poisson batches each."""
    import opacus

    train = q.load_data("xrays").split("train")
    data = TensorDataset(*train.tensors)

    def ours() -> None:
        net = xray_cnn()
        net, optimizer, loader = q.dp.PrivacyEngine().make_private(
            module=net,
            optimizer=torch.optim.SGD(net.parameters(), lr=0.5),
            data_loader=DataLoader(data, batch_size=BATCH),
            noise_multiplier=SIGMA,
            max_grad_norm=CLIP,
        )
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()

    def peer(mode: str) -> None:
        net = xray_cnn()
        criterion: object = torch.nn.CrossEntropyLoss()
        private = opacus.PrivacyEngine().make_private(
            module=net.train(),
            optimizer=torch.optim.SGD(net.parameters(), lr=0.5),
            criterion=criterion,
            data_loader=DataLoader(data, batch_size=BATCH),
            noise_multiplier=SIGMA,
            max_grad_norm=CLIP,
            grad_sample_mode=mode,
        )
        module, optimizer, loader = private[0], private[1], private[-1]
        criterion = private[2] if mode == "ghost" else criterion
        for x, y in loader:
            optimizer.zero_grad()
            criterion(module(x), y).backward()
            optimizer.step()

    for mode in ("hooks", "ghost"):
        yield compare_times(
            f"DP-SGD, one epoch of batch {BATCH}, against Opacus {mode}", ours, lambda mode=mode: peer(mode)
        )
