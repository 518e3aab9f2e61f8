"""What each of two processes that train as one does, in a fork; ``CASES`` run in one process, too."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
from torch import distributed, nn

from quintain.core.errors import ModelError
from quintain.data.dataset import from_arrays
from quintain.harden import (
    AWP,
    TRADES,
    ConsistencyTraining,
    FastTraining,
    GaussianAugmentation,
    PGDTraining,
    fit,
)
from quintain.threats import Linf
from quintain.training import Recipe

RECIPE = Recipe(epochs=2, batch_size=10, learning_rate=5e-3)
"""Of 31 examples, so that the last batch is of one, which both processes have."""

CASES = {
    "pgd-at": PGDTraining(Linf(0.1), RECIPE),
    "trades": TRADES(Linf(0.1), RECIPE),
    "fast-at": FastTraining(Linf(0.1), RECIPE),
    "awp": AWP(Linf(0.1), RECIPE, warmup=0.0),
    "gaussian": GaussianAugmentation(0.25, RECIPE),
    "consistency": ConsistencyTraining(0.25, RECIPE),
}


def data():
    generator = np.random.default_rng(0)
    labels = np.arange(31) % 3
    images = generator.random((31, 4, 4)) * 0.5 + labels[:, None, None] * 0.2
    return from_arrays(images.astype(np.float32), labels)


def net():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 3))


def trained(name, group=None, checkpoint=None):
    """Weights, and losses, of a training."""
    model = net()
    done = fit(
        model,
        data(),
        CASES[name],
        seed=3,
        ema_decay=0.9,
        process_group=group,
        checkpoint=checkpoint,
        validation=data() if name == "pgd-at" else None,
    )
    weights = torch.cat([value.flatten() for value in model.state_dict().values()])
    return weights.numpy(), np.array(done.losses)


def refusal(group):
    """What is said of a net with batch norms."""
    try:
        model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16), nn.Linear(16, 3))
        fit(model, data(), CASES["trades"], process_group=group)
    except ModelError as error:
        return str(error)
    return ""


def main(rank: int, size: int, folder: str) -> None:
    """Train each case together, and write down what came out."""
    torch.set_num_threads(1)
    meet = f"file://{folder}/meet"
    distributed.init_process_group(
        "gloo", init_method=meet, rank=rank, world_size=size, timeout=timedelta(seconds=60)
    )
    group = distributed.group.WORLD
    found = {}
    for name in CASES:
        found[f"{name}/weights"], found[f"{name}/losses"] = trained(name, group)
    checkpoint = Path(folder) / "trades.safetensors"
    trained("trades", group, checkpoint)
    # what is finished is read by both, and not trained again
    found["again/weights"], found["again/losses"] = trained("trades", group, checkpoint)
    np.savez(Path(folder) / f"{rank}.npz", refusal=refusal(group), **found)
    distributed.destroy_process_group()
