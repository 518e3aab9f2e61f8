"""A sticker that turns whatever it lies beside into the class of the adversary's choice."""

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from quintain.attacks.outcome import Model
from quintain.attacks.perturbation import content_hashes
from quintain.attacks.universal.base import UniversalAttack
from quintain.attacks.universal.fitted_patch import FittedPatch, cut_alpha, side_for_area
from quintain.attacks.universal.fitting import FitSettings, fit_pattern, image_shape
from quintain.attacks.universal.printing import Printing, non_printability, palette
from quintain.attacks.universal.view import View
from quintain.core.errors import SettingError
from quintain.core.progress import Progress, no_progress
from quintain.data.dataset import Examples, to_dataset
from quintain.models.loop_checkpoints import Checkpoints, no_checkpoints


@dataclass(frozen=True, slots=True)
class AdversarialPatch(UniversalAttack):
    r"""One sticker for all images, at any place, turn, size and light.

    .. math::
        \max_{s \in [low, high]} \; E_{x, T}\, \log p_t\big(f(x (1 - T\alpha) + T(\alpha s))\big)
        - \lambda\, NPS(s)

    Args:
        target: The class to be answered; any wrong one if not given.
        area: The largest fraction of the image that it may cover, over all views.
        shape: Its cut: ``disc``, ``square`` or ``letter``.
        view: How it may be seen.
        printing: The printer and the camera that it must survive; none if not given.
        nps_weight: :math:`\lambda`, the weight of what cannot be printed.
        low, high: Its darkest and lightest color.
        steps, batch_size, learning_rate: Steps of Adam; images a step; length of the first step.

    Raises:
        SettingError: If a number is out of its range.
        UnknownNameError: For a cut that there is none.

    Guarantee:
        It covers at most ``area`` in each view. How often it succeeds is an estimate, from the images and
        views that it is scored on.

    Source: Brown et al., 2017, arXiv:1712.09665.
    """

    name: ClassVar[str] = "adversarial-patch"
    summary: ClassVar[str] = "a printed sticker at any place, turn, size and light"
    cost: ClassVar[str] = "{steps} gradients of batches of {batch_size} images"
    test_settings: ClassVar = {"steps": 3, "batch_size": 4}

    target: int | None = None
    area: float = 0.05
    shape: str = "disc"
    view: View = field(default_factory=View)
    printing: Printing | None = None
    nps_weight: float = 0.0
    low: float = 0.0
    high: float = 1.0
    steps: int = 400
    batch_size: int = 16
    learning_rate: float = 0.05

    def __post_init__(self) -> None:
        FitSettings(self.steps, self.batch_size, self.learning_rate).check()
        side_for_area(self.shape, self.area, 1, 1)
        if not 0 <= self.low < self.high <= 1:
            raise SettingError(f"colors from {self.low} to {self.high}; expected 0 <= low < high <= 1")
        if not (math.isfinite(self.nps_weight) and self.nps_weight >= 0):
            raise SettingError(f"nps_weight = {self.nps_weight}; expected a weight of at least 0")

    def fit(
        self,
        model: Model,
        data: Examples,
        *,
        seed: int = 0,
        progress: Progress = no_progress,
        checkpoints: Checkpoints = no_checkpoints,
    ) -> FittedPatch:
        """Return the sticker for some images, to be scored on others.

        Args:
            model: Gives logits (B, K), with gradients.
            data: Images (C, H, W), or a pair of arrays (images, labels); those of the target
                class are left out.
            seed: Of the images' order and the views.
            checkpoints: Keeps the state on the way, so that a fit that was cut off resumes.

        Raises:
            ModelError: If the model gives no finite gradients.
            DataError: If the data are no images, or all are of the target class.
        """
        data = to_dataset(data)
        channels, height, width = image_shape(data)
        blank = self.blank(channels, height, width)
        colors = palette(channels) if self.nps_weight else None

        def penalty(pattern: Tensor) -> Tensor:
            assert colors is not None
            return self.nps_weight * non_printability(pattern, colors, blank.alpha)

        pattern = fit_pattern(
            model,
            data,
            blank.pattern,
            blank.apply_pattern,
            name="sticker",
            target=self.target,
            settings=FitSettings(self.steps, self.batch_size, self.learning_rate),
            seed=seed,
            progress=progress,
            checkpoints=checkpoints,
            low=self.low,
            high=self.high,
            penalty=penalty if self.nps_weight else None,
        )
        return replace(blank, pattern=pattern, fitted_on=content_hashes(data))

    def blank(self, channels: int, height: int, width: int) -> FittedPatch:
        """Return the sticker before it is fitted, of one color, for images of a size."""
        side = side_for_area(self.shape, self.area, height, width) / self.view.magnification[1]
        alpha = cut_alpha(self.shape, max(1, round(side)))
        return FittedPatch(
            torch.full((channels, *alpha.shape[1:]), (self.low + self.high) / 2),
            alpha,
            side / height,
            self.view,
            self.printing,
        )


BRIGHT = 0.6
"""The darkest that metal is in an X-ray, as a fraction of white."""


def side_marker(target: int | None = 0, *, area: float = 0.06, steps: int = 150) -> AdversarialPatch:
    """Return the sticker that is a radiopaque letter near the top right corner.

    It lets little through, so that it is bright; it hardly moves.

    Args:
        target: The class to be answered, normal for the bundled X-rays; any wrong one if not given.
        area: The largest fraction of the X-ray that it may cover.
        steps: Steps of Adam.
    """
    corner = View(
        position=(0.05, 0.95),
        shift=0.02,
        rotation=5.0,
        magnification=(0.95, 1.0),
        perspective=0.0,
        brightness=0.03,
        contrast=0.03,
    )
    return AdversarialPatch(target, area, "letter", corner, low=BRIGHT, steps=steps, batch_size=64)
