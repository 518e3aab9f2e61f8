"""Smoothed gradients: what many shifted copies of a picture would ask for at once."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from quintain.attacks.gradient.march import march, require_march, require_pictures
from quintain.attacks.method import Method
from quintain.attacks.search import Search
from quintain.core.errors import SettingError

WIDTH = 3.0
"""How many standard deviations the kernel reaches to either side."""


@dataclass(frozen=True, slots=True)
class TIFGSM(Method):
    r"""``MIFGSM`` on gradients that are convolved with a Gaussian: the gradient over shifted pictures, to first order.

    .. math:: v_{t+1} = \mu v_t + \frac{W * g_t}{mean|W * g_t|}, \quad z_{t+1} = \Pi_x\big(z_t + \alpha\, sign\, v_{t+1}\big)

    It is made for other models than the one that is asked: the one asked, it breaks less often than ``MIFGSM`` does.

    Args:
        steps: Gradients per example; a broken example stops paying.
        rate: Length of a step, as a share of ``eps``.
        decay: The share of the direction so far that is kept.
        kernel: The kernel's side in pixels, odd; 15, as published, is for pictures of 299 pixels.

    Raises:
        SettingError: If a setting is out of range.
        DataError: If the inputs are not pictures (B, C, H, W).

    Guarantee:
        What it calls broken is inside the threat and was answered wrongly twice; what it does not break may still be breakable.

    Source: Dong et al., 2019, arXiv:1904.02884.
    """

    name: ClassVar[str] = "ti-fgsm"
    serves: ClassVar[tuple[str, ...]] = ("linf", "mask")

    steps: int = 10
    rate: float = 0.1
    decay: float = 1.0
    kernel: int = 15

    def __post_init__(self) -> None:
        require_march(self.steps, self.rate, self.decay)
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise SettingError(f"kernel = {self.kernel}; expected an odd number of pixels, such as 15")

    def pursue(self, search: Search) -> None:
        """Walk; nothing is random."""
        require_pictures(self.name, search.x)
        weights = gaussian(self.kernel, search.x)
        march(search, steps=self.steps, rate=self.rate, decay=self.decay, smooth=lambda gradient: smoothed(gradient, weights))


def gaussian(side: int, like: Tensor) -> Tensor:
    """Weights (side,) of a Gaussian that reaches ``WIDTH`` standard deviations to either side; they add up to 1."""
    place = torch.linspace(-WIDTH, WIDTH, side, dtype=like.dtype, device=like.device) if side > 1 else like.new_zeros(1)
    weights = (-place.square() / 2).exp()
    return weights / weights.sum()


def smoothed(gradient: Tensor, weights: Tensor) -> Tensor:
    """Each channel (n, C, H, W) convolved with the outer product of ``weights`` (k,) and itself, with zeros around it."""
    planes, half = gradient.flatten(0, 1)[:, None], len(weights) // 2
    down = F.conv2d(planes, weights.view(1, 1, -1, 1), padding=(half, 0))
    return F.conv2d(down, weights.view(1, 1, 1, -1), padding=(0, half)).view_as(gradient)
