"""Seeds follow from where they are used, and nothing else."""

from hypothesis import given
from hypothesis import strategies as st

from quintain.core.seeds import derive

part = st.one_of(st.integers(0, 10**6), st.text(st.characters(categories=["L"]), max_size=6))


@given(st.integers(0, 2**40), st.lists(part, max_size=4))
def test_equal_places_get_equal_seeds(seed, path):
    assert derive(seed, *path) == derive(seed, *path)
    assert 0 <= derive(seed, *path) < 2**63


def test_places_that_read_alike_differ():
    assert len({derive(1, 1), derive(1, "1"), derive(11), derive(1), derive(1, "a", "b"), derive(1, "a/sb")}) >= 5
    assert derive(0, "pgd", 1) != derive(0, "pgd", "1")


def test_ten_thousand_seeds_do_not_collide():
    assert len({derive(0, "x", i) for i in range(10_000)}) == 10_000
