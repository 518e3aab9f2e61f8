"""NumPy archives, mapped where they can be, and never unpickled."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quintain.core.errors import DataError
from quintain.data import load_data
from quintain.data import npz as module

IMAGES = np.random.default_rng(1).integers(0, 256, (12, 5, 4), dtype=np.uint8)
LABELS = np.arange(12) % 3


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_parts_and_plain_archives_are_read(tmp_path, save):
    save(
        tmp_path / "parts.npz",
        train_images=IMAGES,
        train_labels=LABELS[:, None],
        test_images=IMAGES[:6],
        test_labels=LABELS[:6],
    )
    splits = load_data(tmp_path / "parts.npz")
    assert list(splits.as_dict()) == ["train", "test"]
    assert splits.val is None
    assert splits.train.name == "parts.train"
    assert splits.train.shape == (1, 5, 4)
    assert splits.train.labels.tolist() == LABELS.tolist()
    assert torch.equal(splits.test.batch([2])[0][0, 0], torch.from_numpy(IMAGES[2] / np.float32(255)))
    save(tmp_path / "plain.npz", images=IMAGES, labels=LABELS)
    plain = load_data(str(tmp_path / "plain.npz"))
    assert list(plain.as_dict()) == ["test"]
    assert plain.test.hash == splits.train.hash


@given(
    shape=st.sampled_from([(3,), (4, 5), (2, 3, 3), (3, 2, 5)]), fortran=st.booleans(), floating=st.booleans()
)
def test_mapped_and_unpacked_arrays_are_the_same(tmp_path_factory, shape, fortran, floating):
    folder = tmp_path_factory.mktemp("npz")
    values = np.random.default_rng(2).integers(0, 256, (6, *shape), dtype=np.uint8)
    values = (values / 255).astype(np.float32) if floating else values
    values = np.asfortranarray(values) if fortran else values
    for name, save in (("mapped", np.savez), ("packed", np.savez_compressed)):
        save(folder / f"{name}.npz", images=values, labels=LABELS[:6])
    assert load_data(folder / "mapped.npz").test.hash == load_data(folder / "packed.npz").test.hash


def test_arrays_without_compression_are_not_loaded(tmp_path, monkeypatch):
    np.savez(tmp_path / "a.npz", images=IMAGES, labels=LABELS)
    kept = []
    monkeypatch.setattr(module, "splits_from_arrays", lambda name, arrays, **_: kept.append(arrays))
    load_data(tmp_path / "a.npz")
    images, labels = kept[0]["test"]
    assert isinstance(images, np.memmap)
    assert np.array_equal(images, IMAGES)
    assert np.array_equal(labels, LABELS)


def test_classes_are_those_of_all_parts_together(tmp_path):
    np.savez(
        tmp_path / "a.npz",
        train_images=IMAGES,
        train_labels=LABELS,
        test_images=IMAGES[:2],
        test_labels=[0, 1],
    )
    splits = load_data(tmp_path / "a.npz")
    assert splits.test.num_classes == splits.train.num_classes == 3


@pytest.mark.parametrize(
    ("key", "names", "expected"),
    [
        ("names", ["x", "y", "z"], ("x", "y", "z")),
        ("names", ["x"] * 12, ("0", "1", "2")),
        ("class_names", ["a", "b", "c", "d"], ("a", "b", "c", "d")),
        ("class_names", [1, 2], ("0", "1", "2")),
    ],
)
def test_names_are_taken_where_there_is_one_a_class(tmp_path, key, names, expected):
    np.savez(tmp_path / "a.npz", images=IMAGES, labels=LABELS, **{key: names})
    assert load_data(tmp_path / "a.npz").test.class_names == expected


def test_too_few_class_names_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", images=IMAGES, labels=LABELS, class_names=["a", "b"])
    with pytest.raises(DataError, match="2 class names for 3 classes"):
        load_data(tmp_path / "a.npz")


def test_pickled_objects_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.array([{"a": 1}] * 3, dtype=object), labels=LABELS[:3])
    with pytest.raises(DataError, match="unpickling can run any code"):
        load_data(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": IMAGES, "y": LABELS}, "holds x, y; expected train_images"),
        ({"images": IMAGES}, "has no array labels"),
        ({"train_images": IMAGES, "test_labels": LABELS}, "has no array train_labels"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, "empty"),
        ({"images": IMAGES.astype(float), "labels": LABELS}, "divide by 255"),
        ({"images": IMAGES, "labels": LABELS[:4]}, "12 samples and 4 labels"),
        ({"images": IMAGES, "labels": LABELS - 1}, "label -1"),
        ({"images": IMAGES, "labels": LABELS / 2}, "expected integers"),
        ({"images": np.full((2, 3), np.nan), "labels": [0, 1]}, "NaN"),
    ],
)
def test_archives_that_do_not_fit_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=message):
        load_data(tmp_path / "a.npz")


@pytest.mark.parametrize("keep", [0, 10, 200, -30])
def test_damaged_archives_are_refused(tmp_path, keep):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, images=IMAGES, labels=LABELS)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"cannot be read as an \.npz file"):
        load_data(path)


def test_flipped_bytes_are_refused_not_shown(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, images=IMAGES, labels=LABELS)
    content = bytearray(path.read_bytes())
    for place in range(150, 250):
        content[place] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError):
        load_data(path)
