"""Seeds follow from where they are used, and nothing else."""

from hypothesis import given
from hypothesis import strategies as st

from quintain.core.seeds import derive_seed

awkward = st.one_of(st.integers(0, 3), st.text("/si1", max_size=4))
part = st.one_of(st.integers(0, 10**6), st.text("aZäßλй中𝒜", max_size=6))


@given(st.integers(0, 2**40), st.lists(part, max_size=4))
def test_equal_places_get_equal_seeds(seed, path):
    assert derive_seed(seed, *path) == derive_seed(seed, *path)
    assert 0 <= derive_seed(seed, *path) < 2**63


def test_places_that_read_alike_differ():
    paths = [
        (1,),
        ("1",),
        (),
        ("a", "b"),
        ("a/sb",),
        ("a//sb",),
        ("a/", "b"),
        ("a", "/b"),
        ("pgd", 1),
        ("pgd", "1"),
        ("",),
        ("", ""),
    ]
    assert len({derive_seed(11), *(derive_seed(1, *path) for path in paths)}) == len(paths) + 1


@given(st.lists(awkward, max_size=4), st.lists(awkward, max_size=4))
def test_different_places_get_different_seeds(a, b):
    assert (derive_seed(0, *a) == derive_seed(0, *b)) == (a == b)


def test_ten_thousand_seeds_do_not_collide():
    assert len({derive_seed(0, "x", i) for i in range(10_000)}) == 10_000
