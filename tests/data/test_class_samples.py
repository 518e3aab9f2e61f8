"""Examples that are drawn so that each class has some."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quintain.data.class_samples import (
    class_frequency_distance,
    missing_class_notes,
    missing_classes,
    sample_each_class,
    sample_notes,
)
from quintain.data.dataset import from_arrays


def of_classes(*counts):
    """A data set with so many examples of each class, shuffled."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    x = np.linspace(0, 1, len(labels), dtype=np.float32)[:, None]
    return from_arrays(x, labels, num_classes=max(len(counts), 2))


def test_a_rare_class_has_an_example_whatever_the_seed_and_the_note_says_so():
    data = of_classes(493, 7)
    plain = [data.sample(100, seed=seed) for seed in range(40)]
    drawn = [sample_each_class(data, 100, seed=seed) for seed in range(40)]
    lacking = [seed for seed, one in enumerate(plain) if missing_classes(data, one)]
    assert lacking
    for seed, one in enumerate(drawn):
        assert len(one) == 100
        assert missing_classes(data, one) == []
        if seed in lacking:
            assert np.bincount(one.labels).tolist() == [99, 1]
            assert class_frequency_distance(data, one) == pytest.approx(0.004)
            (note,) = sample_notes(data, one, seed=seed)
            assert "100 of 500 examples were drawn by class" in note
            assert "differ from those of all by 0.4 points" in note
        else:
            assert one.hash == plain[seed].hash
            assert sample_notes(data, one, seed=seed) == ()


@given(st.lists(st.integers(1, 60), min_size=2, max_size=8), st.integers(1, 120), st.integers(0, 3))
def test_every_class_has_some_in_proportion_where_there_is_room(counts, count, seed):
    data = of_classes(*counts)
    one = sample_each_class(data, count, seed=seed)
    assert len(one) == min(count, len(data))
    assert one.hash == sample_each_class(data, count, seed=seed).hash
    if count >= len(counts):
        assert missing_classes(data, one) == []
    if missing_classes(data, data.sample(count, seed=seed)) and count >= len(counts):
        found = np.bincount(one.labels, minlength=len(counts))
        exact = np.maximum(len(one) * np.array(counts) / len(data), 1)
        assert (found <= np.ceil(exact)).all()


def test_fewer_examples_than_classes_are_a_plain_sample_that_says_what_is_missing():
    data = of_classes(*[10] * 8)
    one = sample_each_class(data, 2, seed=0)
    assert one.hash == data.sample(2, seed=0).hash
    (note,) = sample_notes(data, one, seed=0)
    assert note == missing_class_notes(data, one)[0]
    assert note.startswith("no example of classes ")
    assert f"and {8 - len(set(one.labels.tolist())) - 5} more among these 2 of 80" in note


def test_all_examples_are_no_draw():
    data = of_classes(30, 1)
    assert sample_each_class(data, 0, seed=0) is data
    assert sample_each_class(data, 40, seed=0) is data
    assert sample_notes(data, data, seed=0) == ()


def test_private_names_of_missing_classes_are_numbers():
    data = from_arrays(
        np.zeros((4, 3), np.float32), np.array([0, 1, 2, 2]), class_names=["Anna", "Bert", "Carl"]
    )
    drawn = data.subset([0])
    assert "no example of classes Bert, Carl among" in missing_class_notes(data, drawn)[0]
    assert "no example of classes 1, 2 among" in missing_class_notes(data, drawn, by_number=True)[0]
