"""NumPy archives: ``{train,val,test}_{images,labels}``, or ``images`` and ``labels``."""

import math
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from quintain.core.errors import DataError
from quintain.data.dataset import from_arrays
from quintain.data.splits import Splits
from quintain.data.values import count_classes

PARTS = ("train", "val", "test")
LOCAL_HEADER = 30  # bytes of a zip member's header, before its name and extra field
UNREADABLE = (OSError, EOFError, MemoryError, RuntimeError, ValueError, struct.error, zipfile.BadZipFile, zlib.error)
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def load_npz(path: Path, *, name: str | None = None, class_names: Sequence[str] = ()) -> Splits:
    """The data sets in an ``.npz`` file.

    Arrays are ``train_images``, ``train_labels`` and so on for ``val`` and ``test``; or ``images`` and ``labels``, which become the test
    part. ``class_names`` holds one string a class, and ``names`` may; other arrays are ignored. Images are as ``from_arrays`` takes them.
    Arrays that are stored without compression (``np.savez``) are memory-mapped; compressed ones are held in memory in their own type.

    Raises:
        DataError: If the file cannot be read, holds no such arrays, or holds pickled objects, which are never unpickled.
    """
    name = name or path.stem
    try:
        with zipfile.ZipFile(path) as archive:
            present = {member.removesuffix(".npy") for member in archive.namelist()}
            found = {part: f"{part}_" for part in PARTS if f"{part}_images" in present} or ({"test": ""} if "images" in present else {})
            if not found:
                listed = ", ".join(sorted(present)) or "nothing"
                raise DataError(f"{path} holds {listed}; expected train_images, train_labels, ... or images, labels")
            arrays = {
                part: (_read(archive, path, f"{prefix}images"), _read(archive, path, f"{prefix}labels")) for part, prefix in found.items()
            }
            texts = {key: _texts(archive, path, key) for key in ("class_names", "names") if key in present}
    except UNREADABLE as error:
        raise DataError(f"{path} cannot be read as an .npz file: {error}") from error
    return assemble(name, arrays, class_names=class_names or texts.get("class_names", ()), perhaps=texts.get("names", ()))


def assemble(
    name: str,
    arrays: dict[str, tuple[npt.NDArray[Any], npt.NDArray[Any]]],
    *,
    class_names: Sequence[str] = (),
    perhaps: Sequence[str] = (),
) -> Splits:
    """Splits over arrays. Classes are those of ``class_names``, else of all parts together, and ``perhaps`` names these if it can."""
    seen = max(count_classes(labels, len(images), f"{name}.{part}") for part, (images, labels) in arrays.items())
    names = class_names or (perhaps if len(perhaps) == seen else ())
    classes = max(seen, len(names))
    sets = {
        part: from_arrays(images, labels, name=f"{name}.{part}", classes=classes, class_names=names)
        for part, (images, labels) in arrays.items()
    }
    return Splits(name, **sets)


def _texts(archive: zipfile.ZipFile, path: Path, key: str) -> tuple[str, ...]:
    texts = _read(archive, path, key)
    return tuple(map(str, texts)) if texts.dtype.kind == "U" and texts.ndim == 1 else ()


def _read(archive: zipfile.ZipFile, path: Path, key: str) -> npt.NDArray[Any]:
    """One array, memory-mapped where the archive stores it as it is."""
    if f"{key}.npy" not in archive.namelist():
        raise DataError(f"{path} has no array {key}; expected images and labels of each part")
    info = archive.getinfo(f"{key}.npy")
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        if version not in HEADERS:
            raise DataError(f"{path}: {key} is in format {version} of NumPy's files; save it again with numpy.savez")
        shape, fortran, dtype = HEADERS[version](file)
        if dtype.hasobject:
            raise DataError(
                f"{path}: {key} holds pickled objects, and unpickling can run any code; save plain uint8, float or integer arrays"
            )
        size, present = math.prod(shape) * dtype.itemsize, info.file_size - file.tell()
        if size != present:
            raise ValueError(f"{key} has {present} bytes; its header says {shape}, which takes {size}")
        if info.compress_type == zipfile.ZIP_STORED and size:
            offset = _content(path, info) + file.tell()
            return np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=shape, order="F" if fortran else "C")
    with archive.open(info) as file:
        array: npt.NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    return array


def _content(path: Path, info: zipfile.ZipInfo) -> int:
    """Where a member's bytes begin in the archive's file."""
    with path.open("rb") as file:
        file.seek(info.header_offset)
        name, extra = struct.unpack("<HH", file.read(LOCAL_HEADER)[26:])
    return info.header_offset + LOCAL_HEADER + int(name) + int(extra)
