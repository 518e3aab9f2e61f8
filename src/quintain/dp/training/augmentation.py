"""Random changes of pictures, so that a net sees each record in more than one way."""

import torch
import torch.nn.functional as F
from torch import Tensor

from quintain.dp.step.noise import Stream


def shifted(x: Tensor, pixels: int, stream: Stream) -> Tensor:
    """Each picture moved by up to ``pixels`` to either side, and up or down; its edge is repeated.

    Args:
        x: (B, C, H, W).
        pixels: How far; 0 draws nothing.
        stream: Where the places come from, two words a picture.
    """
    if not pixels or not len(x):
        return x
    batch, _, height, width = x.shape
    drawn = torch.from_numpy((stream.words(2 * batch) % (2 * pixels + 1)).astype("int64")).view(2, batch, 1).to(x.device)
    rows = (drawn[0] + torch.arange(height, device=x.device))[:, None, :, None]
    columns = (drawn[1] + torch.arange(width, device=x.device))[:, None, None, :]
    one = torch.arange(batch, device=x.device)[:, None, None, None]
    colour = torch.arange(x.shape[1], device=x.device)[None, :, None, None]
    return F.pad(x, [pixels] * 4, mode="replicate")[one, colour, rows, columns]
