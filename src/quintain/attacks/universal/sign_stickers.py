"""A few plain stickers on a sign: first where they hurt, then what is on them."""

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from quintain.attacks.outcome import Model
from quintain.attacks.perturbation import content_hashes
from quintain.attacks.universal.base import UniversalAttack
from quintain.attacks.universal.fitted_patch import FittedPatch, cut_alpha, pad_to_center
from quintain.attacks.universal.fitting import FitSettings, fit_pattern, image_shape
from quintain.attacks.universal.printing import Printing, non_printability, palette
from quintain.attacks.universal.view import View
from quintain.core.errors import DataError, SettingError
from quintain.core.progress import Progress, no_progress
from quintain.data.dataset import Dataset, Examples, to_dataset
from quintain.models.loop_checkpoints import Checkpoints, no_checkpoints
from quintain.threats.rng import ExampleRNG
from quintain.threats.warp import composite


def on_a_sign() -> View:
    """Return stickers that stay where they were put, on a sign that fills the image.

    The views turn, move and light the sign a little.
    """
    return View(
        position=(0.5, 0.5),
        shift=0.04,
        rotation=8.0,
        magnification=(0.92, 1.0),
        perspective=0.08,
        brightness=0.1,
        contrast=0.1,
    )


@dataclass(frozen=True, slots=True)
class SignStickers(UniversalAttack):
    r"""Rectangles at the places of a sign that matter most, the same on every photo of it.

    .. math::
        \delta^* = \arg\max_\delta E_{x, T} \log p_t\big(f(x + T\delta)\big) - \lambda_1 \|\delta\|_1, \qquad
        \max_{s} E_{x, T} \log p_t\big(f(x (1 - T M) + T(M s))\big) - \lambda\, NPS(s)

    with :math:`M` the ``count`` rectangles over which :math:`|\delta^*|` is largest, chosen one after the
    other without overlap.

    Args:
        target: The class to be answered; any wrong one if not given.
        area: Fraction of the image that they cover together.
        count: How many.
        sign_diameter: The sign's diameter as a fraction of the image's shorter side; they are put inside.
        aspect: Length of a rectangle over its width.
        view: How the sign may be seen.
        printing: The printer and the camera that they must survive; none if not given.
        l1_weight: :math:`\lambda_1`, per value of the image.
        nps_weight: :math:`\lambda`.
        steps, batch_size, learning_rate: Of each of the two fits, as in ``Sticker``.

    Raises:
        SettingError: If a number is out of its range.

    Source: Eykholt et al., 2018, arXiv:1707.08945.
    """

    name: ClassVar[str] = "sign-stickers"
    summary: ClassVar[str] = "a few rectangles on a sign, first where they hurt, then what is on them"
    cost: ClassVar[str] = "{steps} gradients of batches of {batch_size} images"
    test_settings: ClassVar = {"steps": 3, "batch_size": 4}

    target: int | None = None
    area: float = 0.1
    count: int = 2
    sign_diameter: float = 0.8
    aspect: float = 2.0
    view: View = field(default_factory=on_a_sign)
    printing: Printing | None = None
    l1_weight: float = 20.0
    nps_weight: float = 0.5
    steps: int = 200
    batch_size: int = 32
    learning_rate: float = 0.05

    def __post_init__(self) -> None:
        FitSettings(self.steps, self.batch_size, self.learning_rate).check()
        for name, amount in (("l1_weight", self.l1_weight), ("nps_weight", self.nps_weight)):
            if not (math.isfinite(amount) and amount >= 0):
                raise SettingError(f"{name} = {amount}; expected a weight of at least 0")
        if self.count < 1 or not self.aspect >= 1:
            raise SettingError(
                f"count = {self.count}, aspect = {self.aspect}; expected at least 1 sticker, at least as "
                "long as wide"
            )
        if not 0 < self.sign_diameter <= 1 or not 0 < self.area <= self.sign_diameter**2 / 2:
            raise SettingError(
                f"area = {self.area}, sign_diameter = {self.sign_diameter}; "
                "expected a sign's diameter up to 1 and stickers on at most half of its square"
            )

    def fit(
        self,
        model: Model,
        data: Examples,
        *,
        seed: int = 0,
        progress: Progress = no_progress,
        checkpoints: Checkpoints = no_checkpoints,
    ) -> FittedPatch:
        """Return the stickers for photos of a sign, to be scored on others.

        Args:
            model: Gives logits (B, K), with gradients.
            data: Photos (C, H, W), the sign in their middle, or a pair of arrays (images, labels); those of
                the target class are left out.
            seed: Of the photos' order and the views.
            checkpoints: Keeps the state on the way, so that a fit that was cut off resumes.

        Raises:
            ModelError: If the model gives no finite gradients.
            DataError: If the data are no images, all are of the target class, or the stickers do not fit
                into the sign.
        """
        data = to_dataset(data)
        channels, height, width = image_shape(data)
        settings, colors = FitSettings(self.steps, self.batch_size, self.learning_rate), palette(channels)
        where = self.place_stickers(
            self.importance(model, data, seed=seed, progress=progress, checkpoints=checkpoints)
        )
        blank = FittedPatch(torch.full((channels, height, width), 0.5), where, 1.0, self.view, self.printing)

        def penalty(pattern: Tensor) -> Tensor:
            return self.nps_weight * non_printability(pattern, colors, where)

        pattern = fit_pattern(
            model,
            data,
            blank.pattern,
            blank.apply_pattern,
            name="sign-stickers",
            target=self.target,
            settings=settings,
            seed=seed,
            progress=progress,
            checkpoints=checkpoints,
            penalty=penalty,
        )
        return replace(blank, pattern=pattern, fitted_on=content_hashes(data))

    def importance(
        self,
        model: Model,
        data: Dataset,
        *,
        seed: int = 0,
        progress: Progress = no_progress,
        checkpoints: Checkpoints = no_checkpoints,
    ) -> Tensor:
        r"""Return how much a sparse change of the sign uses each pixel (H, W), :math:`\sum_c |\delta^*_c|`.

        It is 0 off the sign.
        """
        channels, height, width = image_shape(data)
        sign = pad_to_center(
            cut_alpha("disc", max(1, round(self.sign_diameter * min(height, width)))), height, width
        )

        def apply_pattern(change: Tensor, x: Tensor, rng: ExampleRNG) -> Tensor:
            matrices = self.view.matrices(x, (height, width), 1.0, rng)
            layers = change.to(x).expand(len(x), *change.shape), sign.to(x).expand(len(x), *sign.shape)
            return (x + composite(torch.zeros_like(x), *layers, matrices, supersample=1)).clamp(0, 1)

        change = fit_pattern(
            model,
            data,
            torch.zeros(channels, height, width),
            apply_pattern,
            name="sign-places",
            target=self.target,
            settings=FitSettings(self.steps, self.batch_size, self.learning_rate),
            seed=seed,
            progress=progress,
            checkpoints=checkpoints,
            low=-1.0,
            penalty=lambda change: self.l1_weight * change.abs().mean(),
        )
        return (change * sign.to(change)).abs().sum(0)

    def place_stickers(self, importance: Tensor) -> Tensor:
        """Return the alpha (1, H, W) of the stickers: where the importance (H, W) is largest.

        Raises:
            DataError: If one of them finds no place.
        """
        height, width = importance.shape
        short = math.sqrt(self.area * height * width / self.count / self.aspect)
        sides = max(1, round(short)), max(1, round(self.aspect * short))
        covered = torch.zeros_like(importance)
        for _ in range(self.count):
            value, (rows, columns, top, left) = max(
                best_window(importance, covered, *shape) for shape in (sides, sides[::-1])
            )
            if value == -math.inf:
                raise DataError(
                    f"no room for {self.count} stickers of {sides[0]} x {sides[1]} pixels on {height} x "
                    f"{width}; take fewer or smaller ones"
                )
            covered[top : top + rows, left : left + columns] = 1
        return covered[None]


def best_window(
    importance: Tensor, covered: Tensor, rows: int, columns: int
) -> tuple[float, tuple[int, int, int, int]]:
    """Return the largest mean importance of a free window of a shape, and that window.

    The window is given as rows, columns, top, left.

    -inf if none is free.
    """
    if rows > importance.shape[0] or columns > importance.shape[1]:
        return -math.inf, (rows, columns, 0, 0)
    # mean importance of every window by average pooling; windows that touch a placed sticker are excluded
    mean = functional.avg_pool2d(torch.stack((importance, covered))[:, None], (rows, columns), 1)[:, 0]
    value, position = torch.where(mean[1] == 0, mean[0], -torch.inf).flatten().max(0)
    top, left = divmod(int(position), mean.shape[2])
    return float(value), (rows, columns, top, left)
