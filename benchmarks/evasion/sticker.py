"""Measure a round sticker that turns images into a toaster, on images and views that it was not fitted on."""

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
LARGEST_AREA = 0.11
FIT_IMAGES = 150
NEAR = View(magnification=(0.5, 1.0))
"""Areas from 2.75 % of the image to the largest: smaller ones are further away than it was fitted for."""


def squeezenet() -> q.Classifier:
    """Return the shared ImageNet net."""
    from torchvision.models import squeezenet1_1

    net: nn.Module = squeezenet1_1()
    load_weights(net, path("models/squeezenet1_1_rgb01.safetensors"))
    return q.Classifier(net.eval().requires_grad_(False), num_classes=1000)


def load_images() -> tuple[Dataset, Dataset, torch.Tensor]:
    """Return images to fit on, images to measure on, and one of a toaster."""
    with np.load(path("data/imagenet_sample_dev.npz"), allow_pickle=False) as stored:
        images, labels = stored["images"], stored["labels"]
    data = from_arrays(images, labels, name="imagenet", num_classes=1000)
    order = np.random.default_rng(0).permutation(np.flatnonzero(labels != TOASTER))
    toaster = data.batch(np.flatnonzero(labels == TOASTER)[:1])[0][0]
    return data.subset(np.sort(order[:FIT_IMAGES])), data.subset(np.sort(order[FIT_IMAGES:])), toaster


def at_area(sticker: FittedPatch, area: float, printing: Printing | None) -> FittedPatch:
    """Return the same sticker from a distance at which it covers ``area``."""
    size = (area / LARGEST_AREA) ** 0.5
    return replace(sticker, view=replace(sticker.view, magnification=(size, size)), printing=printing)


def run() -> Iterator[Comparison]:
    """Fit stickers without and with the print model, and measure them from 1 % to 11 % of the area."""
    model, (train, test, toaster) = squeezenet(), load_images()

    def rate(sticker: FittedPatch) -> str:
        return f"{success_rate(model, test, sticker, seed=1, target=TOASTER, batch_size=25).rate:.0%}"

    for name, printing in (("pasted", None), ("printed and photographed", Printing())):
        fitted = AdversarialPatch(TOASTER, LARGEST_AREA, view=NEAR, printing=printing).fit(model, train)
        for percent in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11):
            sticker = at_area(fitted, percent / 100, printing)
            yield Comparison(
                f"sticker, {percent} % of the area, {name}, {len(test)} images held out",
                f"classified as a toaster {rate(sticker)}",
            )
        controls = {
            "random": sticker.random_control(),
            "gray": sticker.gray_control(),
            "a crop of a toaster": sticker.crop_control(toaster),
        }
        yield Comparison(
            f"controls, 11 % of the area, {name}",
            ", ".join(f"{name} {rate(control)}" for name, control in controls.items()),
        )
        if printing is None:
            after = rate(at_area(fitted, LARGEST_AREA, Printing()))
            yield Comparison(
                "sticker, 11 % of the area, fitted without the print model, then printed and photographed",
                after,
            )
