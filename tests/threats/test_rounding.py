import pytest
import torch

from quintain.threats.rounding import next_float, representable_box

VALUES = [0.0, 1.0, -1.0, 0.5, 1e-3, -0.3, 255.0, 2.0**-20, -(2.0**-20)]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("side", [1, -1])
def test_it_is_nextafter(dtype: torch.dtype, side: int) -> None:
    random = torch.randn(500, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = torch.cat([torch.tensor(VALUES[1:], dtype=torch.float64), random]).to(dtype)
    assert torch.equal(next_float(x, side), torch.nextafter(x, torch.full_like(x, side * torch.inf)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_zero_stays_or_becomes_the_smallest_number(dtype: torch.dtype) -> None:
    zero = torch.zeros(1, dtype=dtype)
    assert 0 < next_float(zero, 1).double().item() < 1e-6
    assert -1e-6 < next_float(zero, -1).double().item() <= 0


def test_a_strided_view_is_taken() -> None:
    x = torch.rand(4, 6).T
    assert torch.equal(next_float(x, 1), torch.nextafter(x, torch.tensor(torch.inf)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("box", [(0.0, 1.0), (0.1, 0.9), (-0.3, 0.7), (-1.1, -0.1)])
def test_the_box_is_rounded_inwards_and_no_further(dtype: torch.dtype, box: tuple[float, float]) -> None:
    low, high = representable_box(*box, dtype)
    assert low >= box[0]
    assert high <= box[1]
    assert (
        torch.nextafter(torch.tensor([low], dtype=dtype), torch.tensor([-9.0], dtype=dtype)).double().item()
        < box[0]
    )
    assert (
        torch.nextafter(torch.tensor([high], dtype=dtype), torch.tensor([9.0], dtype=dtype)).double().item()
        > box[1]
    )
