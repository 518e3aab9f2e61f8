"""What one malicious site of nine does to a model, with and without defenses (a table in docs/strategies.md).

X-rays, a net with one hidden layer, four rounds; accuracies on the test split. The backdoor counts as many
X-rays of pneumonia as are called healthy with its sticker and not without it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from benchmarks.harness import Comparison
from quintain.data import xrays
from quintain.data.dataset import Dataset, from_arrays
from quintain.federated import Aggregation, FederatedConfig, GroupedSum, SecureSum, partition, simulate
from quintain.federated import byzantine as attacks
from quintain.federated.secagg.encoding import Encoding
from quintain.models import mlp
from quintain.training import Recipe

NUM_SITES, ROUNDS, BAD = 9, 4, "hospital-5"
RECIPE = Recipe(epochs=2, batch_size=32, learning_rate=3e-3, schedule="constant")
STICKER = "backdoor sticker, its update times four"
STICKER_SIZE = 4
ATTACKS = ("none", "label flip", *attacks.UPDATE_ATTACKS, STICKER)
PLAN = FederatedConfig(ROUNDS, RECIPE, threshold=6, min_survivors=6)
DEFENSES: Mapping[str, tuple[Aggregation, FederatedConfig]] = {
    "mean": (SecureSum(), PLAN),
    "mean, clip 0.05 an entry": (SecureSum(), replace(PLAN, clip_value=0.05)),
    "median of three groups": (GroupedSum("median"), PLAN),
    "median, clip 0.05": (GroupedSum("median"), replace(PLAN, clip_value=0.05)),
}


def run() -> Iterator[Comparison]:
    """One row for each attack, with each defense."""
    splits = xrays()
    train, test = splits.split("train"), splits.split("test")
    sites = partition(train, NUM_SITES, alpha=1.0, min_per_class=5).sites
    for attack in ATTACKS:
        bad = dict(sites)
        change = attacks.UPDATE_ATTACKS.get(attack)
        if attack == "label flip":
            bad[BAD] = flip_labels(sites[BAD])
        if attack == STICKER:
            bad[BAD], change = with_sticker(sites[BAD], 0, 0.5), _four_times
        cells = []
        for name, (aggregation, plan) in DEFENSES.items():
            net = mlp(seed=0)
            byzantine = {} if change is None else {BAD: change}
            simulate(bad, net, plan, aggregation=aggregation, byzantine=byzantine)
            backdoor = f", backdoor {_backdoor(net, test):.1%}" if attack == STICKER else ""
            cells.append(f"{name} {_accuracy(net, test):.1%}{backdoor}")
        yield Comparison(attack, "; ".join(cells))


def flip_labels(data: Dataset) -> Dataset:
    """Return the examples with the labels k - 1 - y."""
    x, y = data.tensors
    return from_arrays(x.numpy(), data.num_classes - 1 - y.numpy(), num_classes=data.num_classes)


def with_sticker(data: Dataset, target: int = 0, fraction: float = 1.0) -> Dataset:
    """Return the images with a white square in the corner, labeled as the target: a backdoor.

    Args:
        data: Images (C, H, W).
        target: The class that the sticker shall mean.
        fraction: How many of the images get it, the first ones; the others stay as they are.
    """
    x, y = (part.numpy().copy() for part in data.tensors)
    count = round(fraction * len(data))
    x[:count, ..., :STICKER_SIZE, :STICKER_SIZE] = 1.0
    y[:count] = target
    return from_arrays(x, y, num_classes=data.num_classes)


def _four_times(update: np.ndarray, _encoding: Encoding) -> np.ndarray:
    return 4 * update


@torch.no_grad()
def _predictions(net: nn.Module, data: Dataset) -> tuple[torch.Tensor, torch.Tensor]:
    x, y = data.tensors
    return net(x).argmax(1), y


def _accuracy(net: nn.Module, data: Dataset) -> float:
    found, y = _predictions(net, data)
    return float((found == y).float().mean())


def _backdoor(net: nn.Module, data: Dataset) -> float:
    """Return the fraction of the examples of class 1, found without a sticker, that it turns into class 0."""
    found, y = _predictions(net, data)
    stuck, _ = _predictions(net, with_sticker(data, 0))
    right = (y == 1) & (found == 1)
    return float((stuck[right] == 0).float().mean()) if bool(right.any()) else 0.0
