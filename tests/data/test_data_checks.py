"""Each flaw that is planted is found, and clean data have none."""

import numpy as np
import pytest

from quintain.data import Splits, check_data, from_arrays
from quintain.data.checks import scan

rng = np.random.default_rng(7)
IMAGES = rng.integers(0, 256, (30, 6, 5), dtype=np.uint8)
LABELS = np.arange(30) % 3


def levels(splits: Splits) -> dict[str, str]:
    return {finding.name: finding.level for finding in check_data(splits)}


def parts(train=(IMAGES[:20], LABELS[:20]), test=(IMAGES[20:], LABELS[20:]), **settings) -> Splits:
    return Splits(
        "mine",
        train=from_arrays(*train, name="train", **settings),
        test=from_arrays(*test, name="test", **settings),
    )


def text(splits: Splits, name: str) -> str:
    return next(finding.message for finding in check_data(splits) if finding.name == name)


def test_clean_data_are_clean():
    found = levels(parts())
    assert set(found.values()) == {"ok"}
    assert list(found)[:3] == ["data", "range train", "range test"]


def test_one_pass_sees_range_and_spread():
    seen = scan(from_arrays(IMAGES, LABELS))
    assert seen.low == IMAGES.min() / np.float32(255)
    assert seen.high == IMAGES.max() / np.float32(255)
    assert np.allclose(seen.deviations, (IMAGES / 255).reshape(30, -1).std(1))
    assert len(set(seen.digests)) == 30


def test_images_that_were_divided_twice():
    assert levels(parts(train=(IMAGES[:20] / 255 / 255, LABELS[:20])))["range train"] == "warning"


def test_values_that_cannot_be_read_are_a_finding():
    class Late:
        shape = (2,)

        def __len__(self):
            return 4

        def read(self, rows):
            return np.full((len(rows), 2), 7.0)

    from quintain.data import Dataset

    splits = Splits("mine", test=Dataset(Late(), [0, 1, 0, 1], name="late"))
    findings = {finding.name: finding for finding in check_data(splits)}
    assert findings["range test"].level == "error"
    assert "from 7 to 7" in findings["range test"].message


def test_copies_within_a_part_and_with_other_labels():
    train = IMAGES[:20].copy()
    train[5] = train[2]
    assert levels(parts(train=(train, LABELS[:20])))["duplicates train"] == "note"
    train[5] = train[3]
    assert text(parts(train=(train, LABELS[:20])), "duplicates train").startswith(
        "train: 1 samples occur with different labels"
    )


@pytest.mark.parametrize("count", [1, 3])
def test_copies_across_parts(count):
    test = IMAGES[20:].copy()
    test[:count] = IMAGES[4]
    splits = parts(test=(test, LABELS[20:]))
    assert levels(splits)["duplicates train/test"] == "warning"
    assert f"{count} samples of test are also in train" in text(splits, "duplicates train/test")


def test_classes_that_a_part_lacks():
    splits = parts(test=(IMAGES[20:], np.zeros(10, dtype=int)), num_classes=3)
    assert text(splits, "labels") == "classes without samples: test lacks 1, 2"


def test_parts_that_differ_in_classes_or_shape():
    assert levels(parts(test=(IMAGES[20:], np.zeros(10, dtype=int))))["labels"] == "error"
    assert levels(parts(test=(IMAGES[20:, :, :4], LABELS[20:])))["shape"] == "error"


def test_balance_names_the_constant_answer():
    labels = np.array([0] * 7 + [1] * 3)
    splits = parts(test=(IMAGES[20:], labels))
    assert text(splits, "balance test") == "test: always answering '0' is right on 70.0%"
    assert levels(splits)["balance test"] == "note"


def test_a_rare_class():
    images = rng.integers(0, 256, (200, 3), dtype=np.uint8)
    splits = Splits("mine", test=from_arrays(images, [0] * 196 + [1] * 4))
    assert levels(splits)["balance test"] == "warning"
    assert "; 1 class has under a tenth of an equal share" in text(splits, "balance test")


def test_samples_that_show_nothing():
    test = IMAGES[20:].copy()
    test[4] = 128
    splits = parts(test=(test, LABELS[20:]))
    assert levels(splits)["constant test"] == "warning"
    assert "1 samples are nearly constant, such as number 4" in text(splits, "constant test")


def test_no_parts_at_all():
    assert levels(Splits("mine")) == {"data": "error"}


def test_labels_that_start_at_1_are_named():
    splits = parts(train=(IMAGES[:20], LABELS[:20] + 1), test=(IMAGES[20:], LABELS[20:] + 1))
    assert "labels start at 1: subtract 1" in text(splits, "labels")
    splits = parts(test=(IMAGES[20:], np.ones(10, dtype=int)))
    assert "start at 1" not in text(splits, "labels")
