"""Folders of images: the order, the colours, and decoding only what is asked for."""

import numpy as np
import pytest
from PIL import Image

from quintain.core.errors import DataError
from quintain.data import from_arrays, load_data
from quintain.data.folder import ImageSource

IMAGES = np.random.default_rng(4).integers(0, 256, (6, 5, 4), dtype=np.uint8)
COLOURED = np.random.default_rng(5).integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)
LABELS = [0, 0, 0, 1, 1, 1]


def write(folder, images=IMAGES, end=".png"):
    for number, (image, label) in enumerate(zip(images, LABELS, strict=True)):
        path = folder / ("cat", "dog")[label] / f"{number}{end}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)


@pytest.mark.parametrize("images", [IMAGES, COLOURED])
@pytest.mark.parametrize("end", [".png", ".bmp", ".TIF"])
def test_a_folder_is_the_same_data_as_an_archive(tmp_path, images, end):
    write(tmp_path / "pets", images, end)
    np.savez(tmp_path / "pets.npz", images=images, labels=LABELS)
    folder, archive = load_data(tmp_path / "pets").test, load_data(tmp_path / "pets.npz").test
    assert folder.hash == archive.hash == from_arrays(images, LABELS).hash
    assert folder.class_names == ("cat", "dog")
    assert folder.name == "pets.test"


def test_parts_share_their_classes(tmp_path):
    write(tmp_path / "train")
    write(tmp_path / "test")
    for path in (tmp_path / "test" / "cat").iterdir():
        path.unlink()
    splits = load_data(tmp_path)
    assert list(splits.as_dict()) == ["train", "test"]
    assert splits.test.labels.tolist() == [1, 1, 1]
    assert splits.test.class_names == ("cat", "dog")


def test_images_in_folders_of_a_class_belong_to_it_and_other_files_do_not(tmp_path):
    write(tmp_path)
    (tmp_path / "dog" / "brown").mkdir()
    Image.fromarray(IMAGES[0]).save(tmp_path / "dog" / "brown" / "1.png")
    Image.fromarray(IMAGES[0]).save(tmp_path / "dog" / ".hidden.png")
    (tmp_path / "dog" / "notes.txt").write_text("brown")
    (tmp_path / "README").write_text("pets")
    assert load_data(tmp_path).test.labels.tolist() == [0, 0, 0, 1, 1, 1, 1]


def test_one_coloured_image_makes_all_of_them_coloured(tmp_path):
    write(tmp_path)
    Image.fromarray(COLOURED[0]).save(tmp_path / "dog" / "9.png")
    data = load_data(tmp_path).test
    assert data.shape == (3, 5, 4)
    x, _ = data.batch([0])
    assert (x[0] == x[0, :1]).all()


def test_palettes_and_black_and_white_are_decoded(tmp_path):
    write(tmp_path)
    Image.fromarray(COLOURED[0]).quantize(8).save(tmp_path / "dog" / "8.png")
    Image.fromarray((IMAGES[0] > 99).astype(np.uint8) * 255).convert("1").save(tmp_path / "dog" / "9.png")
    x, _ = load_data(tmp_path).test.batch([7])
    assert np.array_equal(x[0, 0].numpy(), IMAGES[0] > 99)


def test_only_images_of_a_batch_are_decoded(tmp_path, monkeypatch):
    write(tmp_path)
    data = load_data(tmp_path).test
    decoded = []
    decode = ImageSource._decode
    monkeypatch.setattr(
        ImageSource, "_decode", lambda self, path: decoded.append(path.name) or decode(self, path)
    )
    data.batch([4, 1])
    assert decoded == ["4.png", "1.png"]


def test_images_of_different_sizes_are_refused(tmp_path):
    write(tmp_path)
    Image.fromarray(IMAGES[0].T.copy()).save(tmp_path / "dog" / "9.png")
    with pytest.raises(DataError, match=r"9.png is 5 x 4 pixels, and .*0.png is 4 x 5"):
        load_data(tmp_path)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "CMYK", "I;16"])
def test_images_that_do_not_fit_into_bytes_of_grey_or_colour_are_refused(tmp_path, mode):
    write(tmp_path)
    Image.new(mode, (4, 5)).save(tmp_path / "dog" / "9.tif")
    with pytest.raises(DataError, match="expected 8-bit gray or RGB"):
        load_data(tmp_path)


def test_what_only_looks_like_an_image_is_refused(tmp_path):
    write(tmp_path)
    (tmp_path / "dog" / "9.png").write_text("woof")
    with pytest.raises(DataError, match=r"9.png is not an image"):
        load_data(tmp_path)


def test_an_image_that_is_cut_off_is_refused_when_read(tmp_path):
    write(tmp_path)
    path = tmp_path / "dog" / "5.png"
    path.write_bytes(path.read_bytes()[:-40])
    data = load_data(tmp_path).test
    with pytest.raises(DataError, match=r"5.png cannot be decoded"):
        data.batch([5])


def test_an_image_that_changes_afterwards_is_refused(tmp_path):
    write(tmp_path)
    data = load_data(tmp_path).test
    Image.fromarray(IMAGES[0].T.copy()).save(tmp_path / "dog" / "5.png")
    with pytest.raises(DataError, match="must not change"):
        data.batch([5])


def test_folders_without_two_classes_are_refused(tmp_path):
    with pytest.raises(DataError, match="no images in folders of their class"):
        load_data(tmp_path)
    write(tmp_path)
    for path in (tmp_path / "cat").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"one class of images \(dog\)"):
        load_data(tmp_path)


def test_an_empty_part_is_refused(tmp_path):
    write(tmp_path / "train")
    (tmp_path / "test").mkdir()
    with pytest.raises(DataError, match=r"test is empty"):
        load_data(tmp_path)


@pytest.mark.parametrize("images", [IMAGES, COLOURED])
def test_an_alpha_channel_that_hides_nothing_is_left_out(tmp_path, images):
    opaque = [np.dstack([image, np.full(image.shape[:2], 255, np.uint8)]) for image in images]
    write(tmp_path / "plain", images)
    write(tmp_path / "opaque", opaque)
    assert load_data(tmp_path / "opaque").test.hash == load_data(tmp_path / "plain").test.hash
    opaque[3][0, 0, -1] = 254
    write(tmp_path / "opaque", opaque)
    with pytest.raises(DataError, match="without transparency"):
        load_data(tmp_path / "opaque")
