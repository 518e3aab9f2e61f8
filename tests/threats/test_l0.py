import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quintain.core.errors import SettingError
from quintain.testing import random_inputs
from quintain.threats import L0, ExampleRNG, contains, parse


def nearest_by_choices(ball: L0, z: torch.Tensor, x: torch.Tensor) -> float:
    """Distance to the nearest allowed point of one image (C, H, W): every choice of pixels is tried."""
    pixels = x.shape[1] * x.shape[2]
    kept = z.clamp(ball.low, ball.high).flatten(1)
    distances = []
    for choice in itertools.combinations(range(pixels), min(int(ball.eps), pixels)):
        point = x.flatten(1).clone()
        point[:, list(choice)] = kept[:, list(choice)]
        distances.append((point - z.flatten(1)).norm().item())
    return min(distances)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 4), st.integers(1, 3), st.integers(0, 2**20), st.sampled_from([0.1, 1.0, 30.0]))
def test_projection_against_every_choice_of_pixels(eps: int, channels: int, seed: int, reach: float) -> None:
    ball = L0(eps)
    x = random_inputs(3, channels, 2, 3, seed=seed)
    z = x + reach * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    point = ball.project(z, x)
    assert contains(ball, point, x).all()
    for row in range(3):
        assert (point[row] - z[row]).norm().item() <= nearest_by_choices(ball, z[row], x[row]) * (
            1 + 1e-9
        ) + 1e-12


def test_what_a_pixel_gains_inside_the_box_decides_and_not_how_far_it_was_asked_to_move() -> None:
    x = torch.tensor([[0.9, 0.2]], dtype=torch.float64)
    z = torch.tensor([[1.8, 0.8]], dtype=torch.float64)
    assert L0(1).project(z, x).tolist() == [[0.9, 0.8]]


def test_the_channels_of_a_pixel_are_one_and_features_are_each() -> None:
    x, z = torch.zeros(1, 3, 1, 2), torch.ones(1, 3, 1, 2)
    assert L0(1).measure(z, x).tolist() == [2.0]
    assert L0(1).measure(z.flatten(1), x.flatten(1)).tolist() == [6.0]
    assert L0(1).project(z, x)[0, :, 0].tolist() == [[1.0, 0.0]] * 3


def test_a_zero_of_the_other_sign_is_no_change_and_the_least_step_is_one() -> None:
    x = torch.zeros(2, 3)
    z = torch.tensor([[-0.0, 0.0, 0.0], [1e-45, 0.0, 0.0]])
    assert L0(1).measure(z, x).tolist() == [0.0, 1.0]
    assert torch.equal(L0(1).project(z, x), z)


def test_of_equal_gains_the_first_pixels_count_example_by_example() -> None:
    x, z = torch.zeros(2, 5), torch.full((2, 5), 0.5)
    z[1, 3] = 0.75
    assert L0(2).project(z, x).tolist() == [[0.5, 0.5, 0, 0, 0], [0.5, 0, 0, 0.75, 0]]
    assert torch.equal(L0(2).project(z[1:], x[1:])[0], L0(2).project(z, x)[1])


def test_huge_and_broken_points_stay_inside() -> None:
    x = random_inputs(4, 5, dtype=torch.float32)
    z = x.clone()
    z[0], z[1], z[2, :3], z[3, 1:4] = 3e38, -3e38, torch.inf, torch.nan
    found = L0(2).project(z, x)
    assert contains(L0(2), found, x).all()
    assert torch.equal(found[3], x[3])


def test_a_step_takes_the_steepest_pixels_across_the_box() -> None:
    gradient = torch.tensor([[[[1.0, -3.0, 0.5]], [[1.0, 2.0, 4.0]]]])
    step = L0(9, low=-1, high=1).steepest_step(gradient, 2.9)
    assert step.tolist() == [[[[0.0, -2.0, 2.0]], [[0.0, 2.0, 2.0]]]]
    assert L0(9).measure(L0(9).steepest_step(gradient, 0.3), torch.zeros_like(gradient)).tolist() == [1.0]


def test_samples_change_so_many_pixels_anywhere_in_any_color() -> None:
    x = torch.full((3000, 3, 2, 3), 0.5, dtype=torch.float64)
    z = L0(2).sample(x, ExampleRNG(0, torch.arange(3000)))
    changed = (z != x).any(1).flatten(1).double()
    assert (changed.sum(1) == 2).all()
    assert (changed.mean(0) - 1 / 3).abs().max() < 0.04
    assert z[z != x].mean().item() == pytest.approx(0.5, abs=0.02)
    assert z[z != x].var().item() == pytest.approx(1 / 12, abs=0.005)


@pytest.mark.parametrize("text", ["l0:2.5", "l0:5/2", "l0:-1", "l0:nan", "l0:inf"])
def test_a_number_of_pixels_that_is_not_whole_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match=r"eps = .*expected"):
        parse(text)


def test_tokens_are_whole_numbers() -> None:
    assert L0(5).spec == "l0:5"
    assert parse("l0:5") == L0(5) == L0(5.0)
    assert parse("l0:3[-1,1]").spec == "l0:3[-1.0,1.0]"
