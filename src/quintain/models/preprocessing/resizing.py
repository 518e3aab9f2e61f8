"""Random resizing and padding of images."""

import secrets

import torch
from torch import Tensor, nn
from torch.nn import functional

from quintain.core.errors import SettingError


class RandomResize(nn.Module):
    """Shrink each image to a random fraction of its size, at a random position on black.

    Fraction and position are drawn anew at each call.

    Random numbers come from a generator of its own, seeded by the system's entropy unless a seed is given.

    Args:
        min_scale: Smallest fraction of the side, in (0, 1).
        seed: Of the random numbers.

    Raises:
        SettingError: If ``min_scale`` is not between 0 and 1.

    Source: Xie et al., 2018, arXiv:1711.01991; broken by Athalye et al., 2018, arXiv:1802.00420.
    """

    def __init__(self, min_scale: float = 0.8, *, seed: int | None = None) -> None:
        super().__init__()
        if not 0 < min_scale < 1:
            raise SettingError(f"min_scale = {min_scale}; expected a fraction of the side between 0 and 1")
        self.min_scale = min_scale
        self._generator = torch.Generator().manual_seed(secrets.randbits(63) if seed is None else seed)

    def forward(self, x: Tensor) -> Tensor:
        """Return images (B, C, H, W), each at its own random scale and position, differentiable in ``x``."""
        # affine_grid maps output to input: scale 1 / scale, shift -shift / scale; outside, grid_sample gives
        # black.
        uniform = torch.rand(len(x), 3, generator=self._generator).to(device=x.device, dtype=x.dtype)
        scale = self.min_scale + (1 - self.min_scale) * uniform[:, 0]
        shift = (1 - scale)[:, None] * (2 * uniform[:, 1:] - 1)
        affine = torch.zeros(len(x), 2, 3, device=x.device, dtype=x.dtype)
        affine[:, 0, 0] = affine[:, 1, 1] = 1 / scale
        affine[:, :, 2] = -shift / scale[:, None]
        grid = functional.affine_grid(affine, list(x.shape), align_corners=False)
        return functional.grid_sample(x, grid, align_corners=False)
