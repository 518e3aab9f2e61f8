"""Random resizing and padding."""

import secrets

import torch
from torch import Tensor, nn
from torch.nn import functional

from quintain.core.errors import SettingError


class RandomResize(nn.Module):
    """Each picture is shrunk to a random share of its size and put at a random place on black; another draw at each call.

    The draws come from a generator of its own: the system's entropy, unless a seed is given.

    Args:
        least: Smallest share of the side, in (0, 1).
        seed: Of the draws.

    Raises:
        SettingError: If ``least`` is not between 0 and 1.

    Source: Xie et al., 2018, arXiv:1711.01991; broken by Athalye et al., 2018, arXiv:1802.00420.
    """

    def __init__(self, least: float = 0.8, *, seed: int | None = None) -> None:
        super().__init__()
        if not 0 < least < 1:
            raise SettingError(f"least = {least}; expected a share of the side between 0 and 1")
        self.least = least
        self._generator = torch.Generator().manual_seed(secrets.randbits(63) if seed is None else seed)

    def forward(self, x: Tensor) -> Tensor:
        """Pictures (B, C, H, W), each resized and placed by its own draw, differentiable in ``x``."""
        drawn = torch.rand(len(x), 3, generator=self._generator).to(device=x.device, dtype=x.dtype)
        share = self.least + (1 - self.least) * drawn[:, 0]
        shift = (1 - share)[:, None] * (2 * drawn[:, 1:] - 1)
        turn = torch.zeros(len(x), 2, 3, device=x.device, dtype=x.dtype)
        turn[:, 0, 0] = turn[:, 1, 1] = 1 / share
        turn[:, :, 2] = -shift / share[:, None]
        grid = functional.affine_grid(turn, list(x.shape), align_corners=False)
        return functional.grid_sample(x, grid, align_corners=False)
