import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quintain.core.errors import SettingError
from quintain.threats import ExampleRNG, Linf, contains


@pytest.mark.parametrize("eps", [8, 8.0, np.int64(8)])
def test_levels_instead_of_units_are_recognized(eps: float) -> None:
    with pytest.raises(SettingError) as error:
        Linf(eps)
    assert (
        str(error.value)
        == "eps = 8 is wider than the data box [0, 1]; images here are in [0, 1]. Did you mean 8/255?"
    )


@pytest.mark.parametrize("eps", [-0.1, math.nan, math.inf, -math.inf, 1.5, "8/255", None])
def test_other_sizes_are_refused(eps: float) -> None:
    with pytest.raises(SettingError, match=r"eps = .*(expected|smaller)"):
        Linf(eps)


@pytest.mark.parametrize("box", [(1, 0), (0, 0), (math.nan, 1), (0, math.inf), ("0", 1)])
def test_boxes_that_hold_nothing_are_refused(box: tuple[float, float]) -> None:
    with pytest.raises(SettingError, match="low < high"):
        Linf(0.1, *box)


def test_it_is_a_value() -> None:
    assert Linf(8 / 255) == Linf(np.float64(8 / 255))
    assert Linf(1) == Linf(1.0)
    assert len({Linf(0.1), Linf(0.1), Linf(0.2), Linf(0.1, -1, 1)}) == 3
    assert replace(Linf(0.1, -1, 1), eps=0.5) == Linf(0.5, -1, 1)
    with pytest.raises(AttributeError):
        Linf(0.1).eps = 0.2


def test_a_worked_projection() -> None:
    x = torch.tensor([[0.5, 0.0, 1.0, 0.9]], dtype=torch.float64)
    z = torch.tensor([[0.9, -1.0, 0.5, 2.0]], dtype=torch.float64)
    assert torch.allclose(
        Linf(0.25).project(z, x), torch.tensor([[0.75, 0.0, 0.75, 1.0]], dtype=torch.float64)
    )
    assert Linf(0.25).measure(z, x).tolist() == [1.1]


@pytest.mark.parametrize("eps", [1 / 255, 2 / 255, 8 / 255, 0.3])
def test_bounds_on_the_grid_of_pixels_are_the_farthest_allowed_numbers(eps: float) -> None:
    x = (torch.arange(256, dtype=torch.float32) / 255)[:, None]
    ball = Linf(eps)
    low, high = ball.bounds(x)
    assert contains(ball, low, x).all()
    assert contains(ball, high, x).all()
    assert not contains(ball, torch.nextafter(low, torch.tensor(-2.0)), x).any()
    assert not contains(ball, torch.nextafter(high, torch.tensor(2.0)), x).any()


@given(st.floats(0, 1), st.floats(0, 1))
def test_bounds_are_the_farthest_allowed_numbers_in_float64(value: float, eps: float) -> None:
    x = torch.tensor([[value]], dtype=torch.float64)
    ball = Linf(eps)
    spacing = math.ulp(max(value, eps))
    for bound, side in zip(ball.bounds(x), (-1, 1), strict=True):
        assert contains(ball, bound, x).all()
        assert not contains(ball, bound + side * 2 * spacing, x).any()


def test_a_box_that_float32_cannot_hold_is_rounded_inwards() -> None:
    x = torch.full((1, 1), 0.5)
    low, high = Linf(0.4, 0.1, 0.9).bounds(x)
    assert low.double().item() >= 0.1
    assert high.double().item() <= 0.9


def test_samples_fill_the_ball_evenly() -> None:
    x = torch.full((1, 20_000), 0.5)
    change = Linf(0.2).sample(x, ExampleRNG(0, torch.tensor([3]))) - x
    assert abs(change.mean().item()) < 0.005
    assert change.abs().mean().item() == pytest.approx(0.1, abs=0.003)
    assert change.abs().max().item() > 0.199
