"""A jet read as a toaster: a disc at any place, turn and size, scored on pictures and views that it was not
fitted on.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import nn

import quintain as q
from benchmarks.evasion.shared import path
from benchmarks.harness import Comparison
from quintain.attacks.perturbation import success_rate
from quintain.attacks.universal.adversarial_patch import AdversarialPatch
from quintain.attacks.universal.fitted_patch import FittedPatch
from quintain.attacks.universal.printing import Printing
from quintain.attacks.universal.view import View
from quintain.data.dataset import Dataset, from_arrays
from quintain.models.weights import load_weights

TOASTER = 859
LARGEST = 0.11
FITTED = 150
NEAR = View(magnification=(0.5, 1.0))
"""From 2.75 % of the picture to the largest area: smaller ones are further away than it was fitted for."""


def squeezenet() -> q.Classifier:
    """The shared ImageNet net."""
    from torchvision.models import squeezenet1_1

    net: nn.Module = squeezenet1_1()
    load_weights(net, path("models/squeezenet1_1_rgb01.safetensors"))
    return q.Classifier(net.eval().requires_grad_(False), num_classes=1000)


def parts() -> tuple[Dataset, Dataset, torch.Tensor]:
    """Pictures to fit on, pictures to score on, and one of a toaster."""
    with np.load(path("data/imagenet_sample_dev.npz"), allow_pickle=False) as stored:
        images, labels = stored["images"], stored["labels"]
    data = from_arrays(images, labels, name="imagenet", num_classes=1000)
    order = np.random.default_rng(0).permutation(np.flatnonzero(labels != TOASTER))
    toaster = data.batch(np.flatnonzero(labels == TOASTER)[:1])[0][0]
    return data.subset(np.sort(order[:FITTED])), data.subset(np.sort(order[FITTED:])), toaster


def seen_at(decal: FittedPatch, area: float, printing: Printing | None) -> FittedPatch:
    """The same sticker from a distance at which it covers ``area``."""
    size = (area / LARGEST) ** 0.5
    return replace(decal, view=replace(decal.view, magnification=(size, size)), printing=printing)


def run() -> Iterator[Comparison]:
    """One sticker without and one with the print model in its fit, from 1 % to 11 % of the area, each beside
    its controls.
    """
    model, (train, test, toaster) = squeezenet(), parts()

    def rate(decal: FittedPatch) -> str:
        return f"{success_rate(model, test, decal, seed=1, target=TOASTER, batch_size=25).rate:.0%}"

    for name, printing in (("pasted", None), ("printed and photographed", Printing())):
        fitted = AdversarialPatch(TOASTER, LARGEST, view=NEAR, printing=printing).fit(model, train)
        for percent in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11):
            decal = seen_at(fitted, percent / 100, printing)
            yield Comparison(
                f"sticker, {percent} % of the area, {name}, {len(test)} pictures held out",
                f"read as a toaster {rate(decal)}",
            )
        controls = {
            "random": decal.random_control(),
            "gray": decal.gray_control(),
            "a crop of a toaster": decal.crop_control(toaster),
        }
        yield Comparison(
            f"controls, 11 % of the area, {name}",
            ", ".join(f"{what} {rate(one)}" for what, one in controls.items()),
        )
        if printing is None:
            after = rate(seen_at(fitted, LARGEST, Printing()))
            yield Comparison(
                "sticker, 11 % of the area, fitted without the print model, then printed and photographed",
                after,
            )
