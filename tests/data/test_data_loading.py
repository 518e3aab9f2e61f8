"""One way in, and what it says when it is not the way."""

import hashlib

import numpy as np
import pytest

from quintain.core.errors import ExecutionError, NotFoundError, SettingError, UnknownNameError
from quintain.core.registry import Entry, entries
from quintain.data import Splits, from_arrays, load_data
from quintain.data import loading as module
from quintain.data.bundled_xrays import BUNDLED


@pytest.fixture(scope="module")
def xrays() -> Splits:
    return load_data("xrays")


def test_the_bundled_xrays_are_what_their_notice_says(xrays):
    counts = {name: np.bincount(part.labels).tolist() for name, part in xrays.as_dict().items()}
    assert counts == {"train": [1214, 3494], "val": [135, 389], "test": [234, 390]}
    assert {part.shape for part in xrays.as_dict().values()} == {(1, 28, 28)}
    assert xrays.test.class_names == ("normal", "pneumonia")
    assert xrays.test.name == "xrays.test"
    assert "CC BY 4.0" in (BUNDLED.parent / "NOTICE").read_text()


def test_the_bundled_xrays_have_not_changed(xrays):
    with np.load(BUNDLED, allow_pickle=False) as archive:
        values, labels = archive["test_images"], archive["test_labels"].ravel()
    content = (values.astype("<f4") / np.float32(255)).tobytes() + labels.astype("<i8").tobytes()
    assert xrays.test.hash == hashlib.sha256(b"quintain-data-1(624, 1, 28, 28)" + content).hexdigest()
    assert xrays.test.hash == "188dbd9df1b17adff660139abd2927e1ebe7187669f7e3dcb53ead318374166a"


@pytest.mark.parametrize("name", sorted(entries("dataset")))
def test_every_registered_data_set_loads(name):
    splits = entries("dataset")[name].load()()
    assert isinstance(splits, Splits)
    assert splits.as_dict()


def test_parts_are_asked_for_by_name():
    data = from_arrays(np.zeros((2, 3)), [0, 1])
    splits = Splits("mine", test=data)
    assert splits.split("test") is data
    with pytest.raises(NotFoundError, match="mine has no 'train' split; it has test"):
        splits.split("train")


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean xrays"):
        load_data("xray")


@pytest.mark.parametrize("spec", ["missing.npz", "some/folder", "/nowhere/at/all"])
def test_a_path_that_does_not_exist_says_what_is_accepted(spec):
    with pytest.raises(NotFoundError, match=r"there is no .*expected an \.npz file.*xrays"):
        load_data(spec)


def test_a_file_of_another_kind_says_what_is_accepted(tmp_path):
    (tmp_path / "data.csv").write_text("1,2")
    with pytest.raises(SettingError, match=r"data.csv is not a data set .*expected an \.npz file"):
        load_data(tmp_path / "data.csv")


def test_a_registered_data_set_that_returns_something_else_is_refused(monkeypatch):
    monkeypatch.setattr(module, "entries", lambda kind: {"odd": None})
    monkeypatch.setattr(module, "get_entry", lambda kind, name: Entry("dataset", "odd", "builtins:dict", ""))
    with pytest.raises(ExecutionError, match="returns dict; expected Splits"):
        load_data("odd")
