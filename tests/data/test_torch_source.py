"""Map-style PyTorch data sets, taken sample by sample."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

from quintain.core.errors import DataError
from quintain.data import from_arrays, from_torch

IMAGES = np.random.default_rng(6).integers(0, 256, (6, 5, 4), dtype=np.uint8)
LABELS = [0, 1, 2, 0, 1, 2]


class Items:
    """A list of pairs that remembers what was taken."""

    def __init__(self, pairs, targets=None):
        self.pairs = pairs
        self.taken = []
        if targets is not None:
            self.targets = targets

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, index):
        self.taken.append(index)
        return self.pairs[index]


@pytest.mark.parametrize(
    "convert",
    [
        lambda image: torch.from_numpy(image)[None],
        lambda image: torch.from_numpy(image)[None].float() / 255,
        lambda image: image,
        lambda image: image[:, :, None],
        Image.fromarray,
    ],
    ids=["bytes", "floats", "array", "array with channels", "picture"],
)
@pytest.mark.parametrize("label", [int, torch.tensor, np.int64])
def test_every_kind_of_sample_is_the_same_data(convert, label):
    items = Items([(convert(image), label(y)) for image, y in zip(IMAGES, LABELS, strict=True)])
    assert from_torch(items, name="mine").hash == from_arrays(IMAGES, LABELS).hash


def test_torch_s_own_data_sets_fit():
    vectors = torch.rand(5, 7)
    data = from_torch(TensorDataset(vectors, torch.tensor([0, 1, 0, 1, 0])), name="vectors")
    assert data.shape == (7,)
    assert torch.equal(data.batch([3, 1])[0], vectors[[3, 1]])


def test_labels_come_from_targets_and_samples_only_when_asked_for():
    items = Items([(torch.zeros(3), y) for y in LABELS], targets=torch.tensor(LABELS))
    data = from_torch(items, name="mine")
    assert items.taken == [0]
    data.batch([4, 2])
    assert items.taken == [0, 4, 2]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (Items([]), "empty"),
        (iter([(torch.zeros(3), 0)]), "without a length"),
        (Items([torch.zeros(3)]), "a Tensor for example 0; expected a pair"),
        (Items([(torch.zeros(3), "cat")]), "label 'cat' for example 0"),
        (Items([(torch.zeros(3), torch.zeros(2))]), "for example 0; expected one integer"),
        (Items([(torch.zeros(3), -1)]), "label -1"),
    ],
)
def test_what_cannot_be_labelled_is_refused_at_once(items, message):
    with pytest.raises(DataError, match=message):
        from_torch(items, name="mine")


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (torch.full((3,), 2.0), "from 2 to 2"),
        (torch.full((3,), torch.nan), "NaN"),
        (torch.zeros(4), r"shape \(4,\) for example 1; expected \(3,\)"),
        (torch.zeros(3, dtype=torch.int64), "type int64"),
    ],
)
def test_a_sample_that_does_not_fit_is_refused_when_it_is_read(sample, message):
    data = from_torch(Items([(torch.zeros(3), 0), (sample, 1)]), name="mine")
    data.batch([0])
    with pytest.raises(DataError, match=message):
        data.batch([1])


def test_targets_that_disagree_with_the_samples_are_refused():
    data = from_torch(Items([(torch.zeros(3), 0), (torch.zeros(3), 1)], targets=[0, 0]), name="mine")
    with pytest.raises(DataError, match="expected one answer"):
        data.batch([1])
