"""Data sets in folders of images by class; images are decoded when a batch is needed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from quintain.core.errors import DataError
from quintain.data.dataset import Dataset, RowIndices
from quintain.data.splits import SPLIT_NAMES, Splits

SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"))
GRAY = frozenset(("1", "L"))
COLOR = frozenset(("P", "RGB"))
OPAQUE = {"LA": "L", "RGBA": "RGB"}
"""Modes with an alpha channel, which is left out where it is 255 everywhere."""


class ImageSource:
    """Image files of one size, as (C, H, W), uint8.

    They have one channel if all of them are gray, else red, green and blue.

    The constructor reads every file's header, and the pixels of those with an alpha channel alone.

    Attributes:
        paths: Of the files, in order.

    Raises:
        DataError: If a file is no image, has transparency or more than 8 bits, or differs in size from the
            first.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)
        headers = [_header(path) for path in self.paths]
        (width, height), _ = headers[0]
        for path, (size, _) in zip(self.paths, headers, strict=True):
            if size != (width, height):
                raise DataError(
                    f"{path} is {size[0]} x {size[1]} pixels, and {self.paths[0]} is {width} x {height}; "
                    "expected images of one size: resize or crop them"
                )
        self._mode = "L" if all(mode in GRAY for _, mode in headers) else "RGB"
        self.shape: tuple[int, ...] = (1 if self._mode == "L" else 3, height, width)

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, rows: RowIndices) -> npt.NDArray[Any]:
        images = np.empty((len(rows), *self.shape), dtype=np.uint8)
        for image, row in zip(images, rows, strict=True):
            image[:] = self._decode(self.paths[row])
        return images

    def _decode(self, path: Path) -> npt.NDArray[Any]:
        try:
            with Image.open(path) as image:
                pixels = np.asarray(image if image.mode == self._mode else image.convert(self._mode))
        except (OSError, SyntaxError) as error:
            raise DataError(f"{path} cannot be decoded: {error}; remove or replace it") from error
        planes = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        if planes.shape != self.shape:
            raise DataError(
                f"{path} is now of shape {planes.shape}, and was {self.shape}; images must not change while "
                "they are used"
            )
        return planes


def load_folder(folder: Path) -> Splits:
    """Load ``folder/<class>/*.png``, all of it the test split, or ``folder/{train,val,test}/<class>/*.png``.

    Classes are numbered in the order of their folders' names, and images are in the order of their paths.
    Files are png, jpg, bmp, tif, webp, pgm or ppm; others, and names that begin with a dot, are left out.

    Raises:
        DataError: If there are fewer than two classes of images, or images are unreadable, or differ in size
            within a split.
    """
    name = folder.resolve().name
    folders = {split: folder / split for split in SPLIT_NAMES if (folder / split).is_dir()} or {
        "test": folder
    }
    files = {split: _by_class(path) for split, path in folders.items()}
    names = sorted({label for by_class in files.values() for label in by_class})
    if len(names) < 2:
        found = f"one class of images ({names[0]})" if names else "no images in folders of their class"
        raise DataError(
            f"{folder} has {found}; expected at least two folders of images: <class>/*.png, or "
            f"{{train,val,test}}/<class>/*.png"
        )
    return Splits(
        name, **{split: _dataset(f"{name}.{split}", by_class, names) for split, by_class in files.items()}
    )


def _by_class(folder: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*/**/*")):
        inside = path.relative_to(folder).parts
        if (
            path.suffix.lower() in SUFFIXES
            and path.is_file()
            and not any(part.startswith(".") for part in inside)
        ):
            found.setdefault(inside[0], []).append(path)
    return found


def _dataset(name: str, by_class: dict[str, list[Path]], names: list[str]) -> Dataset:
    paths = [(path, names.index(label)) for label in sorted(by_class) for path in by_class[label]]
    if not paths:
        raise DataError(f"{name} is empty: expected at least one image")
    source = ImageSource([path for path, _ in paths])
    return Dataset(
        source, [label for _, label in paths], name=name, num_classes=len(names), class_names=names
    )


def _header(path: Path) -> tuple[tuple[int, int], str]:
    try:
        with Image.open(path) as image:
            size, mode = image.size, image.mode
            transparent = "transparency" in image.info
            # an alpha that hides nothing is left out, as convert does
            if mode in OPAQUE and image.getchannel("A").getextrema() == (255, 255):
                mode = OPAQUE[mode]
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} is not an image that can be read: {error}; remove or replace it") from error
    if mode not in GRAY | COLOR or transparent:
        raise DataError(
            f"{path} is of mode {mode}{' with transparency' if transparent else ''}; "
            "expected 8-bit gray or RGB without transparency: convert it"
        )
    return size, mode
