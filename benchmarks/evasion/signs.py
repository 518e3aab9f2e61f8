"""Measure stop signs classified as a speed limit, by stickers and by light, beside random patterns."""

from collections.abc import Iterator

import numpy as np
import torch

import quintain as q
from benchmarks.evasion.shared import path
from benchmarks.harness import Comparison
from quintain.attacks.perturbation import success_rate
from quintain.attacks.universal.phantom import Phantom
from quintain.attacks.universal.printing import Printing
from quintain.attacks.universal.sign_stickers import SignStickers
from quintain.data.dataset import Dataset, from_arrays
from quintain.threats import ProjectedLight

STOP, SPEED_LIMIT = 14, 3
"""The classes stop and 60 km/h."""

HELD_OUT_EVERY = 5
"""One track in so many is held out of the training set."""


def signs() -> tuple[Dataset, Dataset, Dataset]:
    """Return signs to train on, to fit on and to measure on; no track is in two of them."""
    with np.load(path("data/gtsrb_small.npz"), allow_pickle=False) as stored:
        images, labels, tracks = stored["train_images"], stored["train_labels"], stored["train_tracks"]
        test = from_arrays(stored["test_images"], stored["test_labels"], name="signs", num_classes=43)
    data = from_arrays(images, labels, name="signs", num_classes=43)
    held = tracks % HELD_OUT_EVERY == 0
    stop = labels == STOP
    return (
        data.subset(np.flatnonzero(~held)),
        data.subset(np.flatnonzero(held & stop)),
        test.subset(np.flatnonzero(test.labels == STOP)),
    )


def sign_net(train: Dataset) -> q.Classifier:
    """Train a small net."""
    from quintain.models.nets import initialize

    with torch.device("meta"):
        net = torch.nn.Sequential(
            torch.nn.Conv2d(3, 32, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
            torch.nn.Conv2d(32, 48, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
            torch.nn.Flatten(), torch.nn.Linear(48 * 64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 43),
        )  # fmt: skip
    initialize(net, 0)
    q.training.fit(net, train, q.training.Recipe(8, learning_rate=2e-3))
    return q.Classifier(net.eval(), num_classes=43)


def run() -> Iterator[Comparison]:
    """Measure stickers, then light."""
    train, fitting, test = signs()
    model = sign_net(train)
    x, y = test.tensors
    yield Comparison(
        "signs",
        f"{float((model.predict(x) == y).float().mean()):.0%} of {len(test)} stop signs are correct; "
        f"{len(fitting)} to fit on",
    )
    attacks = {
        "2 stickers, 10 % of the area": SignStickers(SPEED_LIMIT, area=0.1),
        "2 stickers, 10 %, printed": SignStickers(SPEED_LIMIT, area=0.1, printing=Printing()),
        "light of 0.5": Phantom(SPEED_LIMIT, ProjectedLight(0.5)),
        "light of 1.0 by albedo": Phantom(SPEED_LIMIT, ProjectedLight(1.0, "albedo")),
    }
    for name, attack in attacks.items():
        fitted = attack.fit(model, fitting)
        rates = [
            success_rate(model, test, one, seed=1, target=SPEED_LIMIT)
            for one in (fitted, fitted.random_control(), fitted.gray_control())
        ]
        text = ", ".join(
            f"{kind} {one.rate:.0%} ({one.fooled / one.eligible:.0%} any other class)"
            for kind, one in zip(("fitted", "random", "plain"), rates, strict=True)
        )
        yield Comparison(f"stop classified as 60 km/h, {name}, {rates[0].eligible} photos held out", text)
