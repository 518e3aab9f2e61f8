"""Pictures as files of the run folder: lossless, small, known by their hash."""

import io
from pathlib import Path
from typing import Literal

import torch
from PIL import Image
from torch import Tensor

from quintain.core.files import sha256, write_atomically
from quintain.results.artifacts import Picture

Mark = Literal["", "good", "bad", "reference"]


def store_picture(folder: Path, name: str, picture: Tensor, caption: str, mark: Mark = "") -> Picture:
    """Write one picture as PNG.

    Args:
        folder: The run folder.
        name: File name without ending.
        picture: (C, H, W) in [0, 1], grey or RGB; clamped.
        caption: What is seen.
        mark: The colour of its frame in the report.
    """
    levels = (picture.detach().cpu().double().clamp(0, 1) * 255).round().to(torch.uint8)
    image = Image.fromarray(levels[0].numpy()) if len(levels) == 1 else Image.fromarray(levels.permute(1, 2, 0).contiguous().numpy())
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    path = Path("pictures") / f"{name}.png"
    write_atomically(folder / path, buffer.getvalue())
    return Picture(path.as_posix(), sha256(buffer.getvalue()), caption, mark)


def drawable(shape: tuple[int, ...]) -> bool:
    """Whether samples of this shape are pictures."""
    return len(shape) == 3 and shape[0] in (1, 3)
