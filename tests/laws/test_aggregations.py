"""Every registered aggregation."""

import numpy as np
import pytest

from quintain.core.errors import DataError
from quintain.core.registry import declared_entries
from quintain.federated import secure_sum
from quintain.testing import check_aggregation

FOUND = declared_entries("aggregation")
every_one = pytest.mark.parametrize("name", sorted(FOUND))


@every_one
def test_it_gives_the_sum_of_clipped_vectors(name):
    rng = np.random.default_rng(3)
    vectors = {f"site-{index}": rng.uniform(-2, 2, 20) for index in range(5)}
    found = secure_sum(vectors, clip_value=1.0, aggregation=FOUND[name].load()())
    plain = sum(np.clip(vector, -1, 1) for vector in vectors.values())
    assert found.survivors == tuple(vectors)
    np.testing.assert_allclose(found.total, plain, atol=1e-4)


@every_one
def test_it_says_what_it_guarantees_and_refuses_what_is_no_number(name):
    assert FOUND[name].guarantee
    with pytest.raises(DataError):
        secure_sum({"a": [0.5], "b": [np.nan], "c": [0.0]}, aggregation=FOUND[name].load()())


@every_one
def test_it_keeps_all_laws(name):
    check_aggregation(FOUND[name].load()())


@every_one
def test_it_says_whether_the_server_sees_updates(name):
    aggregation = FOUND[name].load()()
    said = "the server sees each site's update" in aggregation.guarantee
    assert aggregation.hides_updates != said


@pytest.mark.parametrize("stage", [None, "masked", "late"])
@pytest.mark.parametrize("seed", [0, 1])
def test_all_give_the_same_integers_for_the_same_vectors_and_dropouts(stage, seed):
    rng = np.random.default_rng(seed)
    vectors = {f"site-{index}": rng.uniform(-1.5, 1.5, 30) for index in range(5)}
    dropouts = {} if stage is None else {f"site-{seed}": stage}
    sums = {
        name: secure_sum(vectors, clip_value=1.0, dropouts=dropouts, aggregation=found.load()())
        for name, found in FOUND.items()
    }
    first = sums["secagg"]
    assert first.exact
    assert len(first.survivors) == 5 - len(dropouts)
    for name, found in sums.items():
        assert found.survivors == first.survivors, name
        np.testing.assert_array_equal(found.integers, first.integers, err_msg=name)
