"""Places on an image: shapes drawn at any size, and masks read from files."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from quintain.core.errors import DataError, SettingError, UnknownNameError


def eyeglasses(across: Tensor, down: Tensor, pixel: float) -> Tensor:
    """Return the frame of a pair of glasses as worn: two rims, a bridge and two temples.

    About 6.5 % of an image of a face.
    """
    stroke, aside, level = max(0.017, pixel / 2), (across - 0.5).abs(), down - 0.40
    rims = (torch.hypot((aside - 0.20) / 0.15, level / 0.115) - 1).abs() * 0.13 <= stroke
    bars = ((level + 0.02).abs() <= stroke) & ((aside <= 0.05) | ((aside >= 0.35) & (aside <= 0.46)))
    return rims | bars


def border(across: Tensor, down: Tensor, pixel: float) -> Tensor:
    """Return a frame round the image, a tenth of it wide on each side: 36 % of it."""
    edge = torch.minimum(torch.minimum(across, 1 - across), torch.minimum(down, 1 - down))
    return edge < max(0.1, pixel)


def disc(across: Tensor, down: Tensor, pixel: float) -> Tensor:
    """Return a sticker in the middle, a quarter of the image wide and high: 5 % of it."""
    return torch.hypot(across - 0.5, down - 0.5) <= max(0.125, 0.75 * pixel)


SHAPES: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "border": border,
    "disc": disc,
    "eyeglasses": eyeglasses,
}
"""Shapes by name: from the middle of each pixel (across, down) in [0, 1] and the width of the widest, which
pixels belong.
"""

FILES = (".png", ".npy")


def check_shape(name: str) -> None:
    """Raise if a name is neither a shape nor an existing mask file.

    Raises:
        UnknownNameError: For a name that no shape has.
        SettingError: For a file that is not there.
    """
    if name in SHAPES:
        return
    if not name.lower().endswith(FILES):
        raise UnknownNameError("shape", name, [*SHAPES, *(f"path/to/mask{end}" for end in FILES)])
    if not Path(name).is_file():
        raise SettingError(
            f"there is no mask file {name!r}; give the path to a .png or .npy file, or one of "
            f"{', '.join(SHAPES)}"
        )


def shape_mask(name: str, height: int, width: int) -> Tensor:
    """Return the pixels (H, W) that belong to a shape, as booleans; do not write to them.

    Args:
        name: ``eyeglasses``, ``border``, ``disc``, or a path to a ``.png`` (bright pixels belong) or ``.npy``
            file (non-zero ones do).
        height, width: Size of the images, in pixels.

    Raises:
        UnknownNameError, SettingError: See ``check_shape``.
        DataError: If the file holds no image of this size, or nothing belongs to it.
    """
    return _cached_mask(name, height, width, _modified_at(name), torch.device("cpu"))


def shape_mask_like(name: str, x: Tensor) -> Tensor:
    """Return the pixels (H, W) of a shape on images ``x`` (B, C, H, W) or (B, H, W), on their device.

    Raises:
        DataError: If ``x`` are no images, or see ``shape``.
    """
    if x.dim() not in (3, 4):
        raise DataError(
            f"inputs of shape {tuple(x.shape)}; expected images (B, C, H, W) or (B, H, W): the shape "
            f"{name!r} has a place on them"
        )
    return _cached_mask(name, x.shape[-2], x.shape[-1], _modified_at(name), x.device)


def _modified_at(name: str) -> int:
    """When a file was last written, so that one that changes is read again."""
    check_shape(name)
    return 0 if name in SHAPES else Path(name).stat().st_mtime_ns


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def _cached_mask(
    name: str,
    height: int,
    width: int,
    written: int,  # noqa: ARG001
    device: torch.device,
) -> Tensor:
    if name in SHAPES:
        down, across = (
            (torch.arange(count, dtype=torch.float64) + 0.5) / max(1, count) for count in (height, width)
        )
        return SHAPES[name](across[None, :], down[:, None], 1 / max(1, min(height, width))).to(device)
    mask = _read(name)
    if mask.shape != (height, width):
        raise DataError(
            f"the mask {name!r} has shape {tuple(mask.shape)}; expected {(height, width)}, the size of the "
            "images: resize it"
        )
    if not mask.any():
        raise DataError(f"the mask {name!r} is empty; expected some bright pixels, where the change may be")
    return mask.to(device)


def _read(name: str) -> Tensor:
    try:
        if name.lower().endswith(".npy"):
            return torch.from_numpy(np.load(name, allow_pickle=False) != 0)
        with Image.open(name) as picture:
            return torch.from_numpy(np.asarray(picture.convert("L")) >= 128)
    except (OSError, ValueError) as error:
        raise DataError(
            f"the mask {name!r} cannot be read: {error}; expected a .png image or a .npy array (H, W)"
        ) from error
