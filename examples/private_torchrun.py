"""Two processes train one private model, as ``torchrun --nproc-per-node 2 examples/private_torchrun.py``; run
plainly, it starts that.
"""

import os
import subprocess
import sys

import torch
import torch.nn.functional as F
from torch import distributed
from torch.utils.data import DataLoader, TensorDataset

import quintain as q
from quintain.dp import PrivacyEngine
from quintain.dp.distributed import DifferentiallyPrivateDistributedDataParallel
from quintain.models.nets import xray_cnn


def main() -> None:
    """Each process clips its share of every batch; noise is added once."""
    distributed.init_process_group("gloo")
    train = q.load_data("xrays").split("train")
    x, y = train.batch(torch.arange(1000))
    net = DifferentiallyPrivateDistributedDataParallel(xray_cnn())
    engine = PrivacyEngine()
    net, optimizer, loader = engine.make_private(
        module=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=0.5),
        data_loader=DataLoader(TensorDataset(x, y), batch_size=100),
        noise_multiplier=1.1,
        max_grad_norm=1.0,
    )
    seen = 0
    for images, labels in loader:
        optimizer.zero_grad()
        F.cross_entropy(net(images), labels).backward()
        optimizer.step()
        seen += len(images)
    print(
        f"process {distributed.get_rank()} of {distributed.get_world_size()}: {seen} X-rays in "
        f"{engine.ledger.steps} steps, epsilon {engine.get_epsilon(delta=1e-5):.2f} for the whole run",
        flush=True,
    )
    distributed.destroy_process_group()


if __name__ == "__main__":
    if "RANK" in os.environ:
        main()
    else:
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            "2",
            __file__,
        ]
        sys.exit(subprocess.run(command, check=False).returncode)
