"""A data set reads what is asked for and nothing else, and its hash is that of its content."""

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from quintain.core.errors import DataError, SettingError
from quintain.data import Dataset, from_arrays

SHAPES = st.sampled_from([(3,), (4, 5), (2, 2, 3), (3, 4, 5), (1, 6, 6)])


class CountingSource:
    """Remembers which rows were read, together."""

    shape = (1, 2, 2)

    def __init__(self, count: int) -> None:
        self.count = count
        self.reads: list[list[int]] = []

    def __len__(self) -> int:
        return self.count

    def read(self, rows):
        self.reads.append(rows.tolist())
        return np.broadcast_to((rows % 256).astype(np.uint8)[:, None, None, None], (len(rows), *self.shape))


@st.composite
def images(draw):
    return draw(arrays(np.uint8, (draw(st.integers(1, 9)), *draw(SHAPES))))


def labelled(values, **settings) -> Dataset:
    return from_arrays(values, np.arange(len(values)) % 2, **settings)


@given(values=images(), size=st.integers(1, 12))
def test_batches_cover_everything_once_in_order(values, size):
    data = labelled(values)
    batches = list(data.batches(size))
    assert torch.cat([batch.ids for batch in batches]).tolist() == list(range(len(values)))
    assert all(len(batch.x) <= size for batch in batches)
    whole, labels = data.batch(np.arange(len(values)))
    assert torch.equal(torch.cat([batch.x for batch in batches]), whole)
    assert torch.equal(torch.cat([batch.y for batch in batches]), labels)
    assert whole.shape == (len(values), *data.shape)
    assert whole.dtype == torch.float32
    assert labels.dtype == torch.int64


@given(values=images())
def test_bytes_become_their_exact_share_of_255(values):
    x, _ = labelled(values).batch(np.arange(len(values)))
    assert torch.equal(
        x.flatten().sort().values, (torch.from_numpy(values.flatten()).float() / 255).sort().values
    )


@given(values=images(), size=st.integers(1, 5))
def test_hash_is_that_of_the_content_not_of_how_it_is_stored(values, size):
    stored_as_floats = labelled((values / 255).astype(np.float32), name="other")
    assert labelled(values).hash == stored_as_floats.hash
    data = labelled(values)
    for _ in data.batches(size):
        pass
    assert data.hash == labelled(values).hash


@given(values=images(), where=st.integers(0), bit=st.integers(0, 7))
def test_hash_changes_with_any_bit(values, where, bit):
    changed = values.copy()
    changed.flat[where % values.size] ^= 1 << bit
    assert labelled(changed).hash != labelled(values).hash


def test_hash_changes_with_labels_order_shape_and_length():
    values = np.arange(24, dtype=np.uint8).reshape(4, 1, 2, 3)
    hashes = {
        from_arrays(values, [0, 1, 0, 1]).hash,
        from_arrays(values, [0, 1, 1, 1]).hash,
        from_arrays(values[::-1], [0, 1, 0, 1]).hash,
        from_arrays(values.reshape(4, 1, 3, 2), [0, 1, 0, 1]).hash,
        from_arrays(values[:3], [0, 1, 0]).hash,
    }
    assert len(hashes) == 5


def test_hash_as_it_is_defined():
    values = np.array([[0, 51], [255, 102]], dtype=np.uint8)
    expected = hashlib.sha256(
        b"quintain-data-1(2, 2)" + (values / 255).astype("<f4").tobytes() + np.array([1, 0], "<i8").tobytes()
    )
    assert from_arrays(values, [1, 0]).hash == expected.hexdigest()


def test_hash_has_one_zero():
    assert from_arrays(np.array([[0.0, 0.5]]), [0]).hash == from_arrays(np.array([[-0.0, 0.5]]), [0]).hash


def test_only_the_rows_of_a_batch_are_read():
    source = CountingSource(1000)
    data = Dataset(source, np.zeros(1000, dtype=int), name="counted")
    assert source.reads == []
    data.batch([7, 3, 7])
    assert source.reads == [[7, 3, 7]]
    stream = data.batches(10)
    next(stream)
    next(stream)
    assert source.reads[1:] == [list(range(10)), list(range(10, 20))]


def test_hash_is_one_pass_in_bounded_pieces_and_lazy():
    source = CountingSource(1000)
    data = Dataset(source, np.zeros(1000, dtype=int), name="counted")
    assert data.hash == data.hash
    assert [row for rows in source.reads for row in rows] == list(range(1000))
    assert max(map(len, source.reads)) <= 256


@given(ids=st.lists(st.integers(0, 19), min_size=1, max_size=30), more=st.data())
def test_a_subset_is_its_rows(ids, more):
    values = np.arange(20, dtype=np.uint8)[:, None]
    data = from_arrays(values, np.arange(20) % 3)
    part = data.subset(ids)
    assert part.num_classes == 3
    assert torch.equal(part.batch(np.arange(len(ids)))[0], data.batch(ids)[0])
    assert part.labels.tolist() == data.labels[ids].tolist()
    assert part.hash == from_arrays(values[ids], data.labels[ids], num_classes=3).hash
    inner = more.draw(st.lists(st.integers(0, len(ids) - 1), min_size=1))
    assert torch.equal(
        part.subset(inner).batch(np.arange(len(inner)))[0], data.batch([ids[i] for i in inner])[0]
    )


def test_classes_beyond_the_labels_get_numbers_for_names():
    data = from_arrays(np.zeros((4, 2, 2), np.uint8), [0, 1, 2, 1], class_names=["a", "b", "c"]).subset(
        [3, 0]
    )
    more = data.with_classes(5)
    assert (more.num_classes, more.class_names) == (5, ("a", "b", "c", "3", "4"))
    assert (more.hash, more.name, more.labels.tolist()) == (data.hash, data.name, [1, 0])
    assert data.with_classes(2).class_names == ("a", "b")
    with pytest.raises(DataError, match="has the label 2; expected 0"):
        from_arrays(np.zeros((1, 2, 2), np.uint8), [2]).with_classes(2)


def test_a_subset_reads_nothing_when_it_is_made():
    source = CountingSource(50)
    part = Dataset(source, np.zeros(50, dtype=int), name="counted").subset(torch.arange(10, 20))
    assert source.reads == []
    part.batch([0, 1])
    assert source.reads == [[10, 11]]


def test_batches_are_the_readers_own():
    values = np.array([[0.25, 0.5]], dtype=np.float32)
    data = from_arrays(values, [0])
    data.batch([0])[0].zero_()
    data.batch([0])[1].fill_(9)
    assert values.tolist() == [[0.25, 0.5]]
    assert data.batch([0])[1].tolist() == [0]


def test_names_of_classes():
    assert from_arrays(np.zeros((2, 1)), [0, 2]).class_names == ("0", "1", "2")
    assert from_arrays(np.zeros((2, 1)), [0, 1], class_names=("cat", "dog")).class_names == ("cat", "dog")
    with pytest.raises(DataError, match="3 class names for 2 classes"):
        from_arrays(np.zeros((2, 1)), [0, 1], class_names=("cat", "dog", "cow"))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((2, 7), (7,)),
        ((2, 8, 9), (1, 8, 9)),
        ((2, 8, 9, 3), (3, 8, 9)),
        ((2, 8, 9, 1), (1, 8, 9)),
        ((2, 3, 8, 9), (3, 8, 9)),
        ((2, 1, 8, 9), (1, 8, 9)),
        ((2, 3, 4, 4), (4, 3, 4)),
        ((2, 3, 1, 1), (3, 1, 1)),
        ((2, 1, 1, 3), (3, 1, 1)),
    ],
)
def test_where_the_channels_are(shape, expected):
    values = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    data = labelled(values)
    assert data.shape == expected
    x = data.batch([1])[0][0].numpy()
    last = len(shape) == 4 and shape[-1] == expected[0]
    assert np.array_equal(
        x if not last else x.transpose(1, 2, 0),
        (values[1].reshape(x.shape if not last else values[1].shape) / np.float32(255)),
    )


@pytest.mark.parametrize(
    ("values", "labels", "message"),
    [
        (np.zeros((0, 2)), [], "empty: expected at least one"),
        (np.array([[0.0, 200.0]]), [0], "from 0 to 200; expected .0, 1.: divide by 255"),
        (np.array([[-2.0, 2.0]]), [0], "from -2 to 2; .*put it inside the model"),
        (np.array([[0.0, np.nan]]), [0], "NaN"),
        (np.array([[0.0, np.inf]]), [0], "from 0 to inf"),
        (np.array([[0, 200]]), [0], "type int64; expected uint8"),
        (np.array([["a", "b"]]), [0], "type <U1; expected uint8"),
        (np.zeros((2, 5, 5, 7)), [0, 0], r"shape \(2, 5, 5, 7\)"),
        (np.zeros(4), [0, 0, 0, 0], r"shape \(4,\)"),
        (np.zeros((2, 2)), [0], "2 samples and 1 labels"),
        (np.zeros((2, 2)), [0, -1], "label -1; expected 0"),
        (
            np.zeros((2, 2)),
            np.array([0, -1], dtype=np.int32).view(np.uint32),
            "label 4294967295; expected classes numbered",
        ),
        (np.zeros((2, 2)), [[0, 1], [1, 0]], r"labels of shape \(2, 2\)"),
        (np.zeros((2, 2)), [0.0, 1.0], r"type float64; expected integers .* labels\.astype\(int\)"),
        (np.zeros((2, 2)), [False, True], r"type bool; .* labels\.astype\(int\)"),
        (np.zeros((2, 2)), ["cat", "dog"], r"type <U3; expected integers .* numpy\.unique"),
    ],
)
def test_bad_arrays_are_refused(values, labels, message):
    with pytest.raises(DataError, match=message):
        from_arrays(values, labels, name="mine")


def test_labels_beyond_the_classes_are_refused():
    with pytest.raises(DataError, match=r"label 5; expected 0 \.\. 2 for 3 classes"):
        from_arrays(np.zeros((2, 2)), [0, 5], num_classes=3)


def test_a_bad_value_far_inside_is_found_at_once():
    values = np.zeros((2000, 2))
    values[1999, 1] = 1.5
    with pytest.raises(DataError, match=r"from 0 to 1\.5"):
        from_arrays(values, np.zeros(2000, dtype=int))


@pytest.mark.parametrize("ids", [[4], [-1], [0.5], [[0]], [True]])
def test_ids_that_are_not_places_are_refused(ids):
    with pytest.raises(DataError, match="ids"):
        from_arrays(np.zeros((4, 2)), [0, 0, 0, 0]).batch(ids)


def test_no_ids_give_an_empty_batch_but_no_data_set():
    data = from_arrays(np.zeros((4, 2)), [0, 0, 0, 0])
    x, y = data.batch([])
    assert x.shape == (0, 2)
    assert y.shape == (0,)
    with pytest.raises(DataError, match="empty"):
        data.subset([])


def test_a_batch_size_below_one_is_refused_at_once():
    with pytest.raises(SettingError, match="batch size = 0"):
        from_arrays(np.zeros((4, 2)), [0, 0, 0, 0]).batches(0)


@given(count=st.integers(0, 12), seed=st.integers(0, 5))
def test_a_sample_is_drawn_by_the_seed_without_repeats_and_in_order(count, seed):
    data = labelled(np.arange(9, dtype=np.uint8)[:, None])
    drawn = (
        (data.sample(count, seed=seed).batch(np.arange(count if 0 < count < 9 else 9))[0] * 255)
        .round()
        .flatten()
        .tolist()
    )
    assert drawn == sorted(set(drawn))
    assert len(drawn) == (count if 0 < count < 9 else 9)
    assert data.sample(count, seed=seed).hash == data.sample(count, seed=seed).hash


def test_another_seed_draws_others_and_a_negative_number_is_refused():
    data = labelled(np.arange(200, dtype=np.uint8)[:, None])
    assert data.sample(20, seed=0).hash != data.sample(20, seed=1).hash
    with pytest.raises(SettingError, match="0 for all"):
        data.sample(-1, seed=0)


def test_a_data_set_goes_into_a_loader_of_torch():
    data = from_arrays(np.arange(12, dtype=np.uint8).reshape(6, 2), np.arange(6) % 2)
    x, y = data[3]
    assert x.tolist() == data.batch([3])[0][0].tolist()
    assert (int(y), int(data[-1][1])) == (1, 1)
    batches = list(torch.utils.data.DataLoader(data, batch_size=4))
    assert torch.equal(torch.cat([part for part, _ in batches]), data.batch(np.arange(6))[0])
    assert torch.cat([part for _, part in batches]).tolist() == [0, 1, 0, 1, 0, 1]
    assert len(list(data)) == 6
    for ours, theirs in zip(data.tensors, torch.utils.data.TensorDataset(*data.tensors).tensors, strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(data.tensors[0], data.batch(np.arange(6))[0])
    assert data.tensors[1].tolist() == [0, 1, 0, 1, 0, 1]
    assert len(data.subset([1, 3]).tensors[1]) == 2
    with pytest.raises(IndexError, match="has 6 examples"):
        data[6]
