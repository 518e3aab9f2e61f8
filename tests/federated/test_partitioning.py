import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quintain.core.errors import SettingError
from quintain.data.dataset import from_arrays
from quintain.federated import partition


def dataset(n=600, classes=2):
    labels = np.arange(n) % 4 // (4 // classes if classes == 2 else 1)
    return from_arrays(np.arange(n, dtype=np.float32)[:, None] / n, labels, num_classes=classes)


@settings(max_examples=20, deadline=None)
@given(sites=st.integers(2, 6), alpha=st.sampled_from([0.5, 1.0, 10.0, None]), seed=st.integers(0, 10))
def test_every_example_is_at_one_site_and_the_minima_hold(sites, alpha, seed):
    data = dataset()
    parts = partition(data, sites, alpha=alpha, seed=seed, min_examples=12, min_per_class=3)
    values = np.sort(
        np.concatenate([part.batch(np.arange(len(part)))[0].numpy()[:, 0] for part in parts.sites.values()])
    )
    assert np.array_equal(values, data.batch(np.arange(600))[0].numpy()[:, 0])
    assert min(min(counts) for counts in parts.class_counts().values()) >= 3
    assert min(map(len, parts.sites.values())) >= 12
    assert list(parts.sites) == [f"hospital-{k + 1}" for k in range(sites)]


def test_a_class_that_nobody_has_is_not_asked_for():
    labels = np.arange(300) % 2 * 2
    data = from_arrays(np.zeros((300, 2, 2), np.uint8), labels, num_classes=5)
    counts = partition(data, 3, seed=1).class_counts().values()
    assert np.sum(list(counts), axis=0).tolist() == [150, 0, 150, 0, 0]
    assert min(count[label] for count in counts for label in (0, 2)) >= 5


def test_the_seed_decides():
    data = dataset()
    one, same, other = (partition(data, seed=seed).class_counts() for seed in (1, 1, 2))
    assert one == same != other


def test_a_small_alpha_makes_sites_unlike_and_a_large_one_alike():
    def spread(alpha):
        shares = [
            c[1] / sum(c)
            for seed in range(10)
            for c in partition(dataset(), alpha=alpha, seed=seed, min_examples=4, min_per_class=1)
            .class_counts()
            .values()
        ]
        return np.std(shares)

    assert spread(0.5) > 2 * spread(20.0)


def test_without_alpha_sizes_are_uneven_and_the_mix_is_one():
    counts = partition(dataset(), 5, alpha=None).class_counts().values()
    assert [sum(c) for c in counts] == [40, 80, 120, 160, 200]
    assert all(abs(c[0] - c[1]) <= 2 for c in counts)


@pytest.mark.parametrize(
    "settings_",
    [
        {"num_sites": 1},
        {"alpha": 0.0},
        {"alpha": float("inf")},
        {"min_examples": 200},
        {"alpha": None, "min_examples": 41},
        {"min_per_class": 100},
    ],
)
def test_a_split_that_cannot_be_is_refused(settings_):
    with pytest.raises(SettingError, match=r"expected|--sites of quintain federate|give more data"):
        partition(dataset(), **settings_)


@pytest.mark.parametrize(
    "settings_",
    [
        {"num_sites": "5"},
        {"num_sites": 2.0},
        {"alpha": "1"},
        {"alpha": True},
        {"seed": None},
        {"min_examples": 1.5},
        {"prefix": 3},
        {"data": [1]},
    ],
)
def test_settings_of_a_wrong_type_are_refused_by_name(settings_):
    with pytest.raises(SettingError, match=f"{next(iter(settings_))} = .*; expected"):
        partition(**{"data": dataset(), **settings_})


def test_too_few_examples_for_so_many_sites_name_how_many_there_may_be():
    data = dataset()
    with pytest.raises(SettingError, match=r"at most 3 sites \(--sites of .*, --clients of quintain drill\)"):
        partition(data, 5, min_examples=len(data) // 3)


def test_minima_that_no_split_has_name_what_the_commands_have_an_option_for():
    with pytest.raises(SettingError, match=r"--sites of quintain federate, --clients of quintain drill"):
        partition(dataset(), 5, min_per_class=len(dataset()))
