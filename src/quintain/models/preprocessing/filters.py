"""Blur filters, which act on each channel separately and reflect the image at its borders."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from quintain.core.errors import SettingError

# A model's hash covers the source of its methods without comments and docstrings: a renaming here changes it.


def _odd(size: int) -> int:
    """Return ``size``, the side of a window in pixels, unchanged.

    Raises:
        SettingError: If it is even or below 3.
    """
    if size < 3 or size % 2 == 0:
        raise SettingError(f"size = {size}; expected an odd number of pixels, at least 3")
    return size


def _pad(x: Tensor, size: int) -> Tensor:
    """Return images (B, C, H, W) with a reflected border on which a filter of ``size`` pixels keeps H and W.

    Height and width must be larger than ``size // 2``.
    """
    return functional.pad(x, [size // 2] * 4, mode="reflect")


class MedianFilter(nn.Module):
    """Replace each pixel by the median of its ``size`` x ``size`` neighborhood.

    Args:
        size: Side of the neighborhood in pixels, odd and at least 3.

    Raises:
        SettingError: If ``size`` is even or below 3.

    Source: Xu et al., 2018, arXiv:1704.01155.
    """

    def __init__(self, size: int = 3) -> None:
        super().__init__()
        self.size = _odd(size)

    def forward(self, x: Tensor) -> Tensor:
        """Return filtered images (B, C, H, W)."""
        windows = _pad(x, self.size).unfold(2, self.size, 1).unfold(3, self.size, 1)
        return windows.flatten(4).median(4).values


class MeanFilter(nn.Module):
    """Replace each pixel by the mean of its ``size`` x ``size`` neighborhood.

    Args:
        size: Side of the neighborhood in pixels, odd and at least 3.

    Raises:
        SettingError: If ``size`` is even or below 3.
    """

    def __init__(self, size: int = 3) -> None:
        super().__init__()
        self.size = _odd(size)

    def forward(self, x: Tensor) -> Tensor:
        """Return filtered images (B, C, H, W)."""
        return functional.avg_pool2d(_pad(x, self.size), self.size, stride=1)


class GaussianFilter(nn.Module):
    """Convolve with a Gaussian of ``sigma`` pixels, truncated at three sigma.

    Args:
        sigma: Standard deviation in pixels.

    Raises:
        SettingError: If ``sigma`` is not positive and finite.
    """

    def __init__(self, sigma: float = 1.0) -> None:
        super().__init__()
        if not 0 < sigma < math.inf:
            raise SettingError(f"sigma = {sigma}; expected a positive number of pixels")
        self.half_width = max(1, math.ceil(3 * sigma))
        weights = torch.exp(-0.5 * (torch.arange(-self.half_width, self.half_width + 1) / sigma) ** 2)
        self.register_buffer("weights", weights / weights.sum())

    def forward(self, x: Tensor) -> Tensor:
        """Return filtered images (B, C, H, W)."""
        channels, size = x.shape[1], 2 * self.half_width + 1
        weights = self.get_buffer("weights").to(x.dtype).expand(channels, 1, size)
        # the kernel is separable: convolve along the columns, then along the rows
        vertical = functional.conv2d(_pad(x, size), weights[..., None], groups=channels)
        return functional.conv2d(vertical, weights[:, :, None], groups=channels)
