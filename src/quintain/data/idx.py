"""Data sets in IDX files, the format of MNIST, gzipped or not."""

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from quintain.core.errors import DataError
from quintain.core.files import read_bytes
from quintain.data.splits import Splits, splits_from_arrays

IDX_PREFIXES = {"train": "train", "test": "t10k"}
FOLDERS = ("", "raw", "MNIST/raw")
UBYTE = 0x08


def find_idx(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Find the image and label files of each split, in a folder, its ``raw`` or its ``MNIST/raw``."""
    for subfolder in FOLDERS:
        found: dict[str, tuple[Path, Path]] = {}
        for part, prefix in IDX_PREFIXES.items():
            images = _first(folder / subfolder, f"{prefix}-images", 3)
            labels = _first(folder / subfolder, f"{prefix}-labels", 1)
            if images and labels:
                found[part] = images, labels
            elif images or labels:
                raise DataError(
                    f"{images or labels} stands alone; expected both {prefix}-images-idx3-ubyte and "
                    f"{prefix}-labels-idx1-ubyte"
                )
        if found:
            return found
    return {}


def load_idx(folder: Path) -> Splits:
    """Load MNIST, or a data set in its format.

    Files are ``train-images-idx3-ubyte`` and ``train-labels-idx1-ubyte``, and the same with ``t10k`` for the
    test split. Those that are not gzipped are memory-mapped.

    Raises:
        DataError: If a file is missing, damaged or of another type.
    """
    found = find_idx(folder)
    if not found:
        raise DataError(
            f"{folder} holds no IDX files; expected train-images-idx3-ubyte, train-labels-idx1-ubyte, or "
            "t10k-..., gzipped or not"
        )
    path = folder.resolve()
    name = path.parent.name if path.name == "raw" else path.name
    return splits_from_arrays(
        name, {part: (_read_array(images), _read_array(labels)) for part, (images, labels) in found.items()}
    )


def _first(folder: Path, stem: str, axes: int) -> Path | None:
    names = (f"{stem}{dash}idx{axes}-ubyte{end}" for dash in "-." for end in ("", ".gz"))
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _read_array(path: Path) -> npt.NDArray[Any]:
    gzipped = path.suffix == ".gz"
    try:
        if gzipped:
            data = gzip.decompress(read_bytes(path))
        else:
            with path.open("rb") as file:
                data = file.read(4 + 4 * 255)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}; fetch the file again") from error
    # The header: magic 00 00 08 d, then d big-endian sizes; then unsigned bytes.
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] != UBYTE or len(data) < 4 + 4 * data[3]:
        raise DataError(
            f"{path} begins with {data[:4].hex(' ') or 'nothing'}; expected an IDX file of unsigned bytes: "
            "00 00 08 and the number of axes"
        )
    start = 4 + 4 * data[3]
    shape = struct.unpack(f">{data[3]}I", data[4:start])
    size = len(data) if gzipped else path.stat().st_size
    if size != start + math.prod(shape):
        raise DataError(
            f"{path} has {size} bytes; its header says {shape}, which takes {start + math.prod(shape)}. "
            "Fetch the file again"
        )
    if gzipped or size == start:
        return np.frombuffer(data, dtype=np.uint8, offset=start).reshape(shape)
    return np.memmap(path, dtype=np.uint8, mode="r", offset=start, shape=shape)
