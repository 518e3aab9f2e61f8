"""Data sets in NumPy archives: ``{train,val,test}_{images,labels}``, or ``images`` and ``labels``."""

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
from quintain.data.splits import SPLIT_NAMES, Splits, splits_from_arrays

LOCAL_HEADER_BYTES = 30  # bytes of a zip member's header, before its name and extra field
READ_ERRORS = (
    OSError,
    EOFError,
    MemoryError,
    RuntimeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
HEADER_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def load_npz(path: Path, *, name: str | None = None, class_names: Sequence[str] = ()) -> Splits:
    """Load the data sets in an ``.npz`` file.

    Arrays are ``train_images``, ``train_labels`` and so on for ``val`` and ``test``; or ``images`` and
    ``labels``, which become the test split. ``class_names`` holds one string a class, and ``names`` may;
    other arrays are ignored. Images are as ``from_arrays`` takes them. Arrays that are stored without
    compression (``np.savez``) are memory-mapped; compressed ones are held in memory in their own type.

    Raises:
        DataError: If the file cannot be read, holds no such arrays, or holds pickled objects, which are never
            unpickled.
    """
    name = name or path.stem
    try:
        with zipfile.ZipFile(path) as archive:
            present = {member.removesuffix(".npy") for member in archive.namelist()}
            found = {split: f"{split}_" for split in SPLIT_NAMES if f"{split}_images" in present}
            if not found and "images" in present:
                found = {"test": ""}
            if not found:
                listed = ", ".join(sorted(present)) or "nothing"
                raise DataError(
                    f"{path} holds {listed}; expected train_images, train_labels, ... or images, labels"
                )
            arrays = {
                split: (_read(archive, path, f"{prefix}images"), _read(archive, path, f"{prefix}labels"))
                for split, prefix in found.items()
            }
            strings = {
                key: _read_strings(archive, path, key) for key in ("class_names", "names") if key in present
            }
    except READ_ERRORS as error:
        raise DataError(f"{path} cannot be read as an .npz file: {error}") from error
    return splits_from_arrays(
        name,
        arrays,
        class_names=class_names or strings.get("class_names", ()),
        fallback_class_names=strings.get("names", ()),
    )


def feature_names(spec: str | Path) -> tuple[str, ...]:
    """Return the names that an ``.npz`` file of vectors gives their numbers, its array ``feature_names``.

    Returns:
        One name a feature; empty where there are none, or these are data of another kind.
    """
    path = Path(spec).expanduser()
    if path.suffix != ".npz" or not path.is_file():
        return ()
    try:
        with zipfile.ZipFile(path) as archive:
            present = "feature_names.npy" in archive.namelist()
            return _read_strings(archive, path, "feature_names") if present else ()
    except READ_ERRORS as error:
        raise DataError(f"{path} cannot be read as an .npz file: {error}") from error


def _read_strings(archive: zipfile.ZipFile, path: Path, key: str) -> tuple[str, ...]:
    texts = _read(archive, path, key)
    return tuple(map(str, texts)) if texts.dtype.kind == "U" and texts.ndim == 1 else ()


def _read(archive: zipfile.ZipFile, path: Path, key: str) -> npt.NDArray[Any]:
    """Read one array, memory-mapped where the archive stores it without compression."""
    if f"{key}.npy" not in archive.namelist():
        raise DataError(f"{path} has no array {key}; expected images and labels of each split")
    info = archive.getinfo(f"{key}.npy")
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        if version not in HEADER_READERS:
            raise DataError(
                f"{path}: {key} is in format {version} of NumPy's files; save it again with numpy.savez"
            )
        shape, fortran, dtype = HEADER_READERS[version](file)
        if dtype.hasobject:
            raise DataError(
                f"{path}: {key} holds pickled objects, and unpickling can run any code; save plain uint8, "
                "float or integer arrays"
            )
        size, present = math.prod(shape) * dtype.itemsize, info.file_size - file.tell()
        if size != present:
            raise ValueError(f"{key} has {present} bytes; its header says {shape}, which takes {size}")
        # Stored without compression: map the bytes in place, after the zip member's header and the .npy
        # header.
        if info.compress_type == zipfile.ZIP_STORED and size:
            offset = _data_offset(path, info) + file.tell()
            return np.memmap(
                path, dtype=dtype, mode="r", offset=offset, shape=shape, order="F" if fortran else "C"
            )
    with archive.open(info) as file:
        array: npt.NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    return array


def _data_offset(path: Path, info: zipfile.ZipInfo) -> int:
    """Return the offset of a member's bytes in the archive's file."""
    # The local header's name and extra field may differ in length from those of the central directory.
    with path.open("rb") as file:
        file.seek(info.header_offset)
        name, extra = struct.unpack("<HH", file.read(LOCAL_HEADER_BYTES)[26:])
    return info.header_offset + LOCAL_HEADER_BYTES + int(name) + int(extra)
