import pytest
import torch
from scipy import stats

from quintain.core.errors import DataError
from quintain.threats import ExampleRNG
from quintain.threats.rng import example_rng

pytestmark = pytest.mark.rounding

LAWS = ("uniform", "normal")


@pytest.mark.parametrize("law", LAWS)
def test_numbers_belong_to_the_example(law: str) -> None:
    ids, like = torch.tensor([7, 3, 2**40, -1, 0]), torch.empty(5, 2, 3)
    whole = getattr(ExampleRNG(1, ids), law)(like)
    for row in range(5):
        alone = getattr(ExampleRNG(1, ids[row : row + 1]), law)(like[:1])
        assert torch.equal(alone, whole[row : row + 1])
    order = torch.tensor([4, 1, 0])
    assert torch.equal(getattr(ExampleRNG(1, ids).select(order), law)(like[:3]), whole[order])


@pytest.mark.parametrize("law", LAWS)
def test_seeds_places_ids_and_laws_differ_and_repeat(law: str) -> None:
    ids, like = torch.arange(3), torch.empty(3, 8)
    base = ExampleRNG(1, ids)
    streams = [
        base,
        ExampleRNG(2, ids),
        base.fold_in("pgd"),
        base.fold_in("pgd", 0),
        base.fold_in("pgd", 1),
        base.fold_in("1"),
        base.fold_in(1),
        ExampleRNG(1, ids + 3),
    ]
    drawn = [getattr(stream, law)(like) for stream in streams]
    assert all(not torch.equal(a, b) for i, a in enumerate(drawn) for b in drawn[:i])
    assert torch.equal(getattr(base.fold_in("pgd", 1), law)(like), drawn[4])
    assert len({tuple(row.tolist()) for row in drawn[0]}) == 3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_shape_and_type_are_those_asked_for(dtype: torch.dtype) -> None:
    like = torch.empty(2, 3, 4, 5, dtype=dtype)
    for law in LAWS:
        drawn = getattr(ExampleRNG(0, torch.arange(2)), law)(like)
        assert drawn.dtype == dtype
        assert drawn.shape == like.shape
    uniform = ExampleRNG(0, torch.arange(2)).uniform(like)
    assert ((uniform >= 0) & (uniform <= 1)).all()


@pytest.mark.parametrize(("law", "reference"), [("uniform", "uniform"), ("normal", "norm")])
@pytest.mark.parametrize("shape", [(4000, 5), (5, 4000)])
def test_the_laws_are_right_along_and_across_examples(
    law: str, reference: str, shape: tuple[int, int]
) -> None:
    drawn = getattr(ExampleRNG(0, torch.arange(shape[0])), law)(torch.empty(shape))
    assert stats.kstest(drawn.flatten().numpy(), reference).pvalue > 1e-4
    assert abs(torch.corrcoef(drawn if shape[0] == 5 else drawn.T)[0, 1].item()) < 0.08


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    ExampleRNG(0, torch.arange(4)).normal(torch.empty(4, 9))
    assert torch.equal(torch.get_rng_state(), before)


def test_ids_must_fit_the_batch() -> None:
    x = torch.empty(3, 2)
    assert example_rng(x, 0).ids.tolist() == [0, 1, 2]
    for ids in (torch.arange(2), torch.rand(3), torch.zeros(3, 1, dtype=torch.long)):
        with pytest.raises(DataError, match="expected one integer per example"):
            example_rng(x, 0, ids)
    with pytest.raises(DataError, match="ids of shape"):
        ExampleRNG(0, torch.arange(2)).uniform(x)
