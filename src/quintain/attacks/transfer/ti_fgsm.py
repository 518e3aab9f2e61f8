"""Smoothed gradients: what many shifted copies of an image would ask for at once."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from quintain.attacks.base import Attack
from quintain.attacks.gradient.iterative_fgsm import check_images, check_iterative_fgsm, iterative_fgsm
from quintain.attacks.search import Search
from quintain.core.errors import SettingError

KERNEL_SIGMAS = 3.0
"""How many standard deviations the kernel reaches to either side."""


@dataclass(frozen=True, slots=True)
class TIFGSM(Attack):
    r"""``MIFGSM`` on gradients convolved with a Gaussian.

    To first order this is the gradient over shifted images.

    .. math::
        v_{t+1} = \mu v_t + \frac{W * g_t}{mean|W * g_t|}, \quad
        z_{t+1} = \Pi_x\big(z_t + \alpha\, sign\, v_{t+1}\big)

    It is made to transfer to other models than the one whose gradients it takes, which it breaks less often
    than ``MIFGSM`` does.

    Args:
        steps: Gradients per example; an example stops at its first success.
        rel_step_size: Length of a step, as a fraction of ``eps``.
        decay: The fraction of the direction so far that is kept.
        kernel_size: The kernel's side in pixels, odd; 15, as published, is for images of 299 pixels.

    Raises:
        SettingError: If a setting is out of range.
        DataError: If the inputs are not images (B, C, H, W).

    Guarantee:
        Each success is allowed by the threat (float64, no tolerance) and was confirmed by a second forward
        pass on the stored point. A failure does not show robustness.

    Source: Dong et al., 2019, arXiv:1904.02884.
    """

    name: ClassVar[str] = "ti-fgsm"
    summary: ClassVar[str] = "momentum on smoothed gradients"
    use_for: ClassVar[str] = "gradients smoothed by a kernel of {kernel_size} pixels"
    cost: ClassVar[str] = "{steps} gradients"
    supports: ClassVar[tuple[str, ...]] = ("linf", "mask")
    optimality_gap: ClassVar = {"any": 1}
    test_settings: ClassVar = {"kernel_size": 3}

    steps: int = 10
    rel_step_size: float = 0.1
    decay: float = 1.0
    kernel_size: int = 15

    def __post_init__(self) -> None:
        check_iterative_fgsm(self.steps, self.rel_step_size, self.decay)
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise SettingError(
                f"kernel_size = {self.kernel_size}; expected an odd number of pixels, such as 15"
            )

    def run(self, search: Search) -> None:
        """Run the steps; nothing is random."""
        check_images(self.name, search.x)
        weights = gaussian(self.kernel_size, search.x)
        iterative_fgsm(
            search,
            steps=self.steps,
            rel_step_size=self.rel_step_size,
            decay=self.decay,
            smooth=lambda gradient: smooth_gradient(gradient, weights),
        )


def gaussian(side: int, like: Tensor) -> Tensor:
    """Return weights (side,) of a Gaussian that reaches ``WIDTH`` standard deviations to either side.

    They add up to 1.
    """
    offsets = (
        torch.linspace(-KERNEL_SIGMAS, KERNEL_SIGMAS, side, dtype=like.dtype, device=like.device)
        if side > 1
        else like.new_zeros(1)
    )
    weights = (-offsets.square() / 2).exp()
    return weights / weights.sum()


def smooth_gradient(gradient: Tensor, weights: Tensor) -> Tensor:
    """Return each channel (n, C, H, W) convolved with the outer square of ``weights`` (k,).

    The channel is padded with zeros.
    """
    planes, half = gradient.flatten(0, 1)[:, None], len(weights) // 2
    down = F.conv2d(planes, weights.view(1, 1, -1, 1), padding=(half, 0))
    return F.conv2d(down, weights.view(1, 1, 1, -1), padding=(0, half)).view_as(gradient)
