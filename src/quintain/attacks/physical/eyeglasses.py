"""A printed eyeglass frame that hides who wears it, or makes them somebody else."""

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from quintain.attacks.outcome import Model
from quintain.attacks.perturbation import seen_in
from quintain.attacks.physical.decal import Decal
from quintain.attacks.physical.fitting import Pace, fit_pattern, pictures, wanted
from quintain.attacks.physical.printing import Printing, non_printability, palette, total_variation
from quintain.attacks.physical.transforms import View
from quintain.core.errors import SettingError
from quintain.core.progress import Progress, silent
from quintain.core.seeds import derive
from quintain.data.dataset import Dataset
from quintain.threats import shapes
from quintain.threats.draw import Draw

TRIED = 16
"""How many photos decide on the colour to start from."""


def as_worn() -> View:
    """A frame that sits a little differently on each photo."""
    return View((0.5, 0.5), 0.02, 4.0, (0.97, 1.03), 0.02, 0.1, 0.1)


@dataclass(frozen=True, slots=True)
class Eyeglasses:
    r"""The frame of a pair of glasses, of smooth and printable colours, that one person or several wear.

    .. math:: \max_{s} \; E_{x, T} \log p_t\big(f(x (1 - T M) + T(M s))\big) - \lambda\, NPS(s) - \mu\, TV(s)

    with a target: impersonation; without one :math:`\log(1 - p_y)`: dodging. It starts from the one printable colour that does best.

    Args:
        target: Whom to be taken for; anybody else if not given.
        shape: The frame: a named shape, or a path to a ``.png`` or ``.npy`` mask of the photos' size.
        view: How it may sit.
        printing: The printer and the camera that it must survive; none if not given.
        printable, smooth: :math:`\lambda, \mu`.
        steps, batch, rate: As in ``Sticker``.

    Raises:
        SettingError: If a number is out of its range.
        UnknownName: For a shape that there is none.

    Source: Sharif et al., 2016, Accessorize to a Crime (CCS).
    """

    target: int | None = None
    shape: str = "eyeglasses"
    view: View = field(default_factory=as_worn)
    printing: Printing | None = None
    printable: float = 0.1
    smooth: float = 0.1
    steps: int = 200
    batch: int = 8
    rate: float = 0.05

    def __post_init__(self) -> None:
        Pace(self.steps, self.batch, self.rate).check()
        shapes.require_shape(self.shape)
        for name, amount in (("printable", self.printable), ("smooth", self.smooth)):
            if not (math.isfinite(amount) and amount >= 0):
                raise SettingError(f"{name} = {amount}; expected a weight of at least 0")

    def fit(self, model: Model, data: Dataset, *, seed: int = 0, progress: Progress = silent) -> Decal:
        """The frame for some photos of its wearers, to be scored on others.

        Args:
            model: Gives logits (B, K), with gradients.
            data: Photos (C, H, W), upright and centred; those of the target are left out.
            seed: Of the photos' order and of how the frame sits.

        Raises:
            ModelError: If the model gives no finite gradients.
            DataError: If the data are no pictures, or all are of the target.
        """
        channels, height, width = pictures(data)
        alpha = shapes.shape(self.shape, height, width)[None].to(torch.float32)
        colours = palette(channels)
        blank = Decal(torch.full((channels, height, width), 0.5), alpha, 1.0, self.view, self.printing)
        start = self.best_colour(model, data, blank, colours, seed)

        def cost(pattern: Tensor) -> Tensor:
            return self.printable * non_printability(pattern, colours, alpha) + self.smooth * total_variation(pattern)

        pattern = fit_pattern(
            model,
            data,
            start,
            blank.show,
            name="eyeglasses",
            target=self.target,
            pace=Pace(self.steps, self.batch, self.rate),
            seed=seed,
            progress=progress,
            cost=cost,
        )
        return replace(blank, pattern=pattern, fitted_on=seen_in(data))

    def best_colour(self, model: Model, data: Dataset, blank: Decal, colours: Tensor, seed: int) -> Tensor:
        """The pattern (C, H, W) of the one printable colour that does best on a few photos."""
        ids = torch.arange(min(TRIED, len(data)))
        x, y = data.batch(ids)
        draw = Draw(derive(seed, "eyeglasses", "colour"), ids)
        with torch.no_grad():
            plain = [colour.view(-1, 1, 1).expand_as(blank.pattern) for colour in colours]
            heights = [wanted(model(blank.show(pattern, x, draw)), y, self.target).mean() for pattern in plain]
        return plain[int(torch.stack(heights).argmax())].contiguous()
