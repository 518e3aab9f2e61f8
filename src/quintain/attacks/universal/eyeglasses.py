"""A printed eyeglass frame by which a face is not recognized, or taken for somebody else's."""

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from quintain.attacks.outcome import Model
from quintain.attacks.perturbation import content_hashes
from quintain.attacks.universal.base import UniversalAttack
from quintain.attacks.universal.fitted_patch import FittedPatch
from quintain.attacks.universal.fitting import FitSettings, fit_pattern, goal_log_probability, image_shape
from quintain.attacks.universal.printing import Printing, non_printability, palette, total_variation
from quintain.attacks.universal.view import View
from quintain.core.errors import SettingError
from quintain.core.progress import Progress, no_progress
from quintain.core.seeds import derive_seed
from quintain.data.dataset import Dataset, Examples, to_dataset
from quintain.models.devices import device_of, search_device
from quintain.models.loop_checkpoints import Checkpoints, no_checkpoints
from quintain.threats import shapes
from quintain.threats.rng import ExampleRNG

NUM_START_PHOTOS = 16
"""Number of photos on which the color to start from is chosen."""


def as_worn() -> View:
    """Return a frame that sits a little differently on each photo."""
    return View(
        position=(0.5, 0.5),
        shift=0.02,
        rotation=4.0,
        magnification=(0.97, 1.03),
        perspective=0.02,
        brightness=0.1,
        contrast=0.1,
    )


@dataclass(frozen=True, slots=True)
class Eyeglasses(UniversalAttack):
    r"""Fit the colors, smooth and printable, of a pair of glasses' frame that one or several persons wear.

    .. math:: \max_{s} \; E_{x, T} \log p_t\big(f(x (1 - T M) + T(M s))\big) - \lambda\, NPS(s) - \mu\, TV(s)

    with a target: impersonation; without one :math:`\log(1 - p_y)`: dodging. It starts from the one printable
    color that does best.

    Args:
        target: Whom to be taken for; anybody else if not given.
        shape: The frame: a named shape, or a path to a ``.png`` or ``.npy`` mask of the photos' size.
        view: How it may sit.
        printing: The printer and the camera that it must survive; none if not given.
        nps_weight, tv_weight: :math:`\lambda, \mu`.
        steps, batch_size, learning_rate: As for ``AdversarialPatch``.

    Raises:
        SettingError: If a number is out of its range.
        UnknownNameError: If no shape has this name.

    Source: Sharif et al., 2016, Accessorize to a Crime (CCS).
    """

    name: ClassVar[str] = "eyeglasses"
    summary: ClassVar[str] = "a printed frame: to dodge recognition, or to be taken for somebody"
    cost: ClassVar[str] = "{steps} gradients of batches of {batch_size} images"
    test_settings: ClassVar = {"steps": 3, "batch_size": 4}

    target: int | None = None
    shape: str = "eyeglasses"
    view: View = field(default_factory=as_worn)
    printing: Printing | None = None
    nps_weight: float = 0.1
    tv_weight: float = 0.1
    steps: int = 200
    batch_size: int = 8
    learning_rate: float = 0.05

    def __post_init__(self) -> None:
        FitSettings(self.steps, self.batch_size, self.learning_rate).check()
        shapes.check_shape(self.shape)
        for name, amount in (("nps_weight", self.nps_weight), ("tv_weight", self.tv_weight)):
            if not (math.isfinite(amount) and amount >= 0):
                raise SettingError(f"{name} = {amount}; expected a weight of at least 0")

    def fit(
        self,
        model: Model,
        data: Examples,
        *,
        seed: int = 0,
        progress: Progress = no_progress,
        checkpoints: Checkpoints = no_checkpoints,
    ) -> FittedPatch:
        """Return the frame for some photos of its wearers, to be scored on others.

        Args:
            model: Gives logits (B, K), with gradients.
            data: Photos (C, H, W), upright and centered, or a pair of arrays (images, labels); those of the
                target are left out.
            seed: Of the photos' order and of how the frame sits.
            checkpoints: Keeps the state on the way, so that a fit that was cut off resumes.

        Raises:
            ModelError: If the model gives no finite gradients.
            DataError: If the data are no images, or all are of the target.
        """
        data = to_dataset(data)
        # the frame before it is fitted, of the one color that does best
        channels, height, width = image_shape(data)
        alpha = shapes.shape_mask(self.shape, height, width)[None].to(torch.float32)
        colors = palette(channels)
        blank = FittedPatch(torch.full((channels, height, width), 0.5), alpha, 1.0, self.view, self.printing)
        start = self.best_color(model, data, blank, colors, seed)

        # colors that no printer has, and edges that no camera resolves, cost something
        def penalty(pattern: Tensor) -> Tensor:
            return self.nps_weight * non_printability(
                pattern, colors, alpha
            ) + self.tv_weight * total_variation(pattern)

        pattern = fit_pattern(
            model,
            data,
            start,
            blank.apply_pattern,
            name="eyeglasses",
            target=self.target,
            settings=FitSettings(self.steps, self.batch_size, self.learning_rate),
            seed=seed,
            progress=progress,
            checkpoints=checkpoints,
            penalty=penalty,
        )
        return replace(blank, pattern=pattern, fitted_on=content_hashes(data))

    def best_color(
        self, model: Model, data: Dataset, blank: FittedPatch, colors: Tensor, seed: int
    ) -> Tensor:
        """Return the pattern (C, H, W) of the one printable color that does best on a few photos."""
        # the same few photos in the same views for every color, so that only the color differs
        ids = torch.arange(min(NUM_START_PHOTOS, len(data)))
        device = search_device(device_of(model))
        x, y = (tensor.to(device) for tensor in data.batch(ids))
        rng = ExampleRNG(derive_seed(seed, "eyeglasses", "colour"), ids)
        with torch.no_grad():
            plain = [color.view(-1, 1, 1).expand_as(blank.pattern) for color in colors]
            log_probabilities = [
                goal_log_probability(model(blank.apply_pattern(pattern, x, rng)), y, self.target).mean()
                for pattern in plain
            ]
        return plain[int(torch.stack(log_probabilities).argmax())].contiguous()
