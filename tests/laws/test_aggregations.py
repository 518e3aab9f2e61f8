"""Every registered aggregation."""

import numpy as np
import pytest

from quintain.core.errors import DataError
from quintain.core.registry import declared_entries

FOUND = declared_entries("aggregation")
every_one = pytest.mark.parametrize("name", sorted(FOUND))


@every_one
def test_it_gives_the_sum_of_clipped_vectors(name):
    rng = np.random.default_rng(3)
    vectors = {f"site-{index}": rng.uniform(-2, 2, 20) for index in range(5)}
    found = FOUND[name].load()(vectors, clip_value=1.0)
    plain = sum(np.clip(vector, -1, 1) for vector in vectors.values())
    assert found.survivors == tuple(vectors)
    np.testing.assert_allclose(found.total, plain, atol=1e-4)


@every_one
def test_it_says_what_it_guarantees_and_refuses_what_is_no_number(name):
    assert FOUND[name].guarantee
    with pytest.raises(DataError):
        FOUND[name].load()({"a": [0.5], "b": [np.nan], "c": [0.0]}, clip_value=1.0)
