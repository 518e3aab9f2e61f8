"""MNIST's files, written here byte by byte as their format says."""

import gzip
import struct

import numpy as np
import pytest

from quintain.core.errors import DataError
from quintain.data import from_arrays, load_data

IMAGES = np.random.default_rng(3).integers(0, 256, (7, 4, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 3, 0, 1, 2], dtype=np.uint8)


def idx(array: np.ndarray, kind: int = 0x08) -> bytes:
    return bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write(folder, *, end="", dash="-", prefixes=("train", "t10k")):
    folder.mkdir(parents=True, exist_ok=True)
    for prefix in prefixes:
        for name, array in ((f"images{dash}idx3", IMAGES), (f"labels{dash}idx1", LABELS)):
            data = idx(array)
            (folder / f"{prefix}-{name}-ubyte{end}").write_bytes(gzip.compress(data) if end else data)


@pytest.mark.parametrize("place", [".", "raw", "MNIST/raw"])
@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize("dash", ["-", "."])
def test_files_are_found_zipped_or_not(tmp_path, place, end, dash):
    write(tmp_path / "digits" / place, end=end, dash=dash)
    splits = load_data(tmp_path / "digits")
    assert list(splits.as_dict()) == ["train", "test"]
    assert splits.test.name == "digits.test"
    assert splits.test.shape == (1, 4, 3)
    assert splits.train.hash == from_arrays(IMAGES, LABELS).hash


def test_a_folder_called_raw_takes_the_name_above_it(tmp_path):
    write(tmp_path / "MNIST" / "raw", prefixes=("t10k",))
    splits = load_data(tmp_path / "MNIST" / "raw")
    assert splits.name == "MNIST"
    assert splits.train is None


def test_half_a_part_is_refused(tmp_path):
    write(tmp_path, prefixes=("train",))
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="stands alone"):
        load_data(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begins with nothing"),
        (b"\0\0", "begins with 00 00"),
        (b"\x89PNG1234", "begins with 89 50"),
        (idx(IMAGES, kind=0x0D), "expected an IDX file of unsigned bytes"),
        (idx(IMAGES)[:-1], "Fetch the file again"),
        (idx(IMAGES) + b"\0", "Fetch the file again"),
        (idx(IMAGES)[:9], "expected an IDX file"),
        (idx(IMAGES[:0]), "empty"),
    ],
)
def test_damaged_files_are_refused(tmp_path, content, message):
    write(tmp_path)
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_data(tmp_path)


def test_damaged_gzip_is_refused(tmp_path):
    write(tmp_path, end=".gz")
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(DataError, match="cannot be read"):
        load_data(tmp_path)
