"""Random augmentation of images, so that a net sees each record in several versions."""

import torch
import torch.nn.functional as F
from torch import Tensor

from quintain.dp.randomness.stream import RandomStream


def random_shift(x: Tensor, pixels: int, stream: RandomStream) -> Tensor:
    """Each image shifted at random by up to ``pixels`` in both directions, with its edge repeated.

    Args:
        x: (B, C, H, W).
        pixels: The largest shift; 0 uses no random numbers.
        stream: Source of the shifts, two words for each image.
    """
    if not pixels or not len(x):
        return x
    batch, _, height, width = x.shape
    shifts = (
        torch.from_numpy((stream.words(2 * batch) % (2 * pixels + 1)).astype("int64"))
        .view(2, batch, 1)
        .to(x.device)
    )
    rows = (shifts[0] + torch.arange(height, device=x.device))[:, None, :, None]
    columns = (shifts[1] + torch.arange(width, device=x.device))[:, None, None, :]
    one = torch.arange(batch, device=x.device)[:, None, None, None]
    channel = torch.arange(x.shape[1], device=x.device)[None, :, None, None]
    return F.pad(x, [pixels] * 4, mode="replicate")[one, channel, rows, columns]
