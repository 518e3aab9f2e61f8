"""A sticker that turns whatever it lies beside into the class of the adversary's choice."""

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from quintain.attacks.outcome import Model
from quintain.attacks.perturbation import seen_in
from quintain.attacks.physical.decal import Decal, cut, side_of
from quintain.attacks.physical.fitting import Pace, fit_pattern, pictures
from quintain.attacks.physical.printing import Printing, non_printability, palette
from quintain.attacks.physical.transforms import View
from quintain.core.errors import SettingError
from quintain.core.progress import Progress, silent
from quintain.data.dataset import Dataset


@dataclass(frozen=True, slots=True)
class Sticker:
    r"""One sticker for all pictures, at any place, turn, size and light.

    .. math:: \max_{s \in [low, high]} \; E_{x, T}\, \log p_t\big(f(x (1 - T\alpha) + T(\alpha s))\big) - \lambda\, NPS(s)

    Args:
        target: The class to be answered; any wrong one if not given.
        area: The largest share of the picture that it may cover, over all views.
        shape: Its cut: ``disc``, ``square`` or ``letter``.
        view: How it may be seen.
        printing: The printer and the camera that it must survive; none if not given.
        printable: :math:`\lambda`, the weight of what cannot be printed.
        low, high: Its darkest and lightest colour.
        steps, batch, rate: Steps of Adam; pictures a step; length of the first step.

    Raises:
        SettingError: If a number is out of its range.
        UnknownName: For a cut that there is none.

    Guarantee:
        It covers at most ``area`` in each view. How often it succeeds is an estimate, from the pictures and views that it is scored on.

    Source: Brown et al., 2017, arXiv:1712.09665.
    """

    target: int | None = None
    area: float = 0.05
    shape: str = "disc"
    view: View = field(default_factory=View)
    printing: Printing | None = None
    printable: float = 0.0
    low: float = 0.0
    high: float = 1.0
    steps: int = 400
    batch: int = 16
    rate: float = 0.05

    def __post_init__(self) -> None:
        Pace(self.steps, self.batch, self.rate).check()
        side_of(self.shape, self.area, 1, 1)
        if not 0 <= self.low < self.high <= 1:
            raise SettingError(f"colours from {self.low} to {self.high}; expected 0 <= low < high <= 1")
        if not (math.isfinite(self.printable) and self.printable >= 0):
            raise SettingError(f"printable = {self.printable}; expected a weight of at least 0")

    def fit(self, model: Model, data: Dataset, *, seed: int = 0, progress: Progress = silent) -> Decal:
        """The sticker for some pictures, to be scored on others.

        Args:
            model: Gives logits (B, K), with gradients.
            data: Pictures (C, H, W); those of the target class are left out.
            seed: Of the pictures' order and the views.

        Raises:
            ModelError: If the model gives no finite gradients.
            DataError: If the data are no pictures, or all are of the target class.
        """
        channels, height, width = pictures(data)
        blank = self.blank(channels, height, width)
        colours = palette(channels) if self.printable else None

        def cost(pattern: Tensor) -> Tensor:
            assert colours is not None
            return self.printable * non_printability(pattern, colours, blank.alpha)

        pattern = fit_pattern(
            model,
            data,
            blank.pattern,
            blank.show,
            name="sticker",
            target=self.target,
            pace=Pace(self.steps, self.batch, self.rate),
            seed=seed,
            progress=progress,
            lowest=self.low,
            highest=self.high,
            cost=cost if self.printable else None,
        )
        return replace(blank, pattern=pattern, fitted_on=seen_in(data))

    def blank(self, channels: int, height: int, width: int) -> Decal:
        """The sticker before it is fitted, of one colour, for pictures of a size."""
        side = side_of(self.shape, self.area, height, width) / self.view.size[1]
        alpha = cut(self.shape, max(1, round(side)))
        return Decal(torch.full((channels, *alpha.shape[1:]), (self.low + self.high) / 2), alpha, side / height, self.view, self.printing)
