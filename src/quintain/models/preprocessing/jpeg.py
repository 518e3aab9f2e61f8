"""The lossy step of JPEG compression, as a layer."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from quintain.core.errors import SettingError

LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
"""Quantization table of luminance in the standard's example (T.81, annex K), at quality 50."""

CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)
"""Quantization table of chrominance, likewise."""

TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


class JPEG(nn.Module):
    """Compress and decompress images as JPEG does.

    That is a cosine transform of 8 x 8 blocks, and rounding by the tables of the quality.

    Color is not subsampled. The rounding makes the gradient zero almost everywhere.

    Args:
        quality: From 1 to 100.

    Raises:
        SettingError: If it is none of them, or images have neither one nor three channels.

    Source: ITU-T T.81, 1992; as a defense Dziugaite et al., 2016, arXiv:1608.00853.
    """

    def __init__(self, quality: int = 75) -> None:
        super().__init__()
        if not 1 <= quality <= 100:
            raise SettingError(f"quality = {quality}; expected 1 to 100")
        # The Independent JPEG Group's quality rule scales the example tables.
        scale = 5000 / quality if quality < 50 else 200 - 2 * quality
        tables = torch.tensor([LUMA, CHROMA, CHROMA], dtype=torch.float32)
        self.register_buffer("tables", ((tables * scale + 50) / 100).floor().clamp(1, 255))
        # The orthonormal 8 x 8 DCT-II: one row a frequency.
        pixel, frequency = torch.arange(8), torch.arange(8)[:, None]
        cosines = torch.cos((2 * pixel + 1) * frequency * math.pi / 16) / 2
        cosines[0] /= math.sqrt(2)
        self.register_buffer("cosines", cosines)
        self.register_buffer("to_ycc", torch.tensor(TO_YCC))

    def forward(self, x: Tensor) -> Tensor:
        """Return images (B, C, H, W) in [0, 1], C = 1 or 3, after compression."""
        channels, height, width = x.shape[1:]
        if channels not in (1, 3):
            raise SettingError(f"images of {channels} channels; JPEG takes 1 (gray) or 3 (RGB)")
        to_ycc = self.get_buffer("to_ycc").to(x.dtype)
        dc_offset = x.new_tensor([128.0, 0.0, 0.0][:channels]).view(channels, 1, 1)
        planes = 255 * (x if channels == 1 else torch.einsum("rc,bchw->brhw", to_ycc, x))
        back = self._quantize_blocks(planes - dc_offset)[:, :, :height, :width] + dc_offset
        if channels == 3:
            back = torch.einsum("cr,brhw->bchw", torch.linalg.inv(to_ycc), back)
        return (back / 255).clamp(0, 1)

    def _quantize_blocks(self, planes: Tensor) -> Tensor:
        batch, channels, height, width = planes.shape
        padded = functional.pad(planes, (0, -width % 8, 0, -height % 8), mode="replicate")
        rows, columns = padded.shape[2] // 8, padded.shape[3] // 8
        blocks = padded.view(batch, channels, rows, 8, columns, 8).transpose(3, 4)
        cosines = self.get_buffer("cosines").to(planes.dtype)
        tables = self.get_buffer("tables")[:channels].to(planes.dtype).view(channels, 1, 1, 8, 8)
        # Blocks (B, C, rows, columns, 8, 8): D X D^T, divide, round, multiply, and back by D^T Y D.
        coefficients = (cosines @ blocks @ cosines.T / tables).round() * tables
        return (cosines.T @ coefficients @ cosines).transpose(3, 4).reshape(padded.shape)
