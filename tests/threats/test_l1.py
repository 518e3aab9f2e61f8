import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quintain.core.errors import SettingError
from quintain.testing import random_inputs
from quintain.threats import L1, ExampleRNG, contains

CORNERS = {"low": 0, "high": 0, "still": 0, "up": 1, "down": -1}


def nearest_by_faces(ball: L1, z: np.ndarray, x: np.ndarray) -> float:
    """Distance to the nearest allowed point: each coordinate low, high, unchanged, or free above or below
    ``x``.
    """
    best = math.inf
    for face in itertools.product(CORNERS, repeat=len(x)):
        sign = np.array([CORNERS[side] for side in face])
        fixed = {"low": ball.low, "high": ball.high}
        point = np.array([fixed.get(side, z[i] if sign[i] else x[i]) for i, side in enumerate(face)])
        rest = ball.eps - np.abs(point - x)[sign == 0].sum()
        over = (sign * (point - x)).sum() - rest
        if over > 0 and sign.any():
            point = point - sign * over / np.abs(sign).sum()
        inside = (point >= ball.low - 1e-12).all() and (point <= ball.high + 1e-12).all()
        if rest >= 0 and inside and (sign * (point - x) >= -1e-12).all():
            best = min(best, float(np.linalg.norm(point - z)))
    return best


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 4),
    st.integers(0, 2**20),
    st.sampled_from([0.01, 0.2, 0.7, 1.5, 3.0]),
    st.sampled_from([0.05, 0.5, 3.0, 1e4]),
)
def test_projection_against_every_face(features: int, seed: int, eps: float, reach: float) -> None:
    ball = L1(eps)
    x = random_inputs(4, features, seed=seed)
    z = x + reach * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    distance = torch.linalg.vector_norm(ball.project(z, x) - z, dim=1)
    for row in range(4):
        assert (
            distance[row].item()
            <= nearest_by_faces(ball, z[row].numpy(), x[row].numpy()) * (1 + 1e-6) + 1e-12
        )


def by_sorting(ball: L1, z: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The projection of one point (d,), by trying the level between each two of the sorted places where a
    coordinate starts or stops.
    """
    change = z - x
    cap = torch.where(change > 0, ball.high - x, x - ball.low)
    ends = torch.cat([change.abs(), change.abs() - cap, torch.zeros(1)]).clamp(min=0).sort().values
    for low, high in itertools.pairwise(ends.tolist()):
        total = [
            torch.minimum((change.abs() - level).clamp(min=0), cap).sum().item() for level in (low, high)
        ]
        if total[1] <= ball.eps <= total[0]:
            level = (
                low
                if total[0] == total[1]
                else low + (high - low) * (total[0] - ball.eps) / (total[0] - total[1])
            )
            return x + change.sign() * torch.minimum((change.abs() - level).clamp(min=0), cap)
    return z.clamp(ball.low, ball.high)


@pytest.mark.parametrize("eps", [0.5, 6.0, 25.0])
@pytest.mark.parametrize("power", [1, 5])
def test_projection_of_images_against_sorting(eps: float, power: int) -> None:
    x = random_inputs(6, 1, 9, 7, seed=2)
    z = x + torch.randn(x.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64) ** power
    found = L1(eps).project(z, x)
    for row in range(6):
        expected = by_sorting(L1(eps), z[row].flatten(), x[row].flatten()).view_as(found[row])
        assert torch.allclose(found[row], expected, atol=1e-12)


def test_a_worked_projection_with_one_coordinate_at_the_wall() -> None:
    x = torch.tensor([[0.9, 0.5, 0.5, 0.5]], dtype=torch.float64)
    z = torch.tensor([[2.9, 0.9, 0.3, 0.55]], dtype=torch.float64)
    expected = torch.tensor([[1.0, 0.75, 0.45, 0.5]], dtype=torch.float64)
    assert torch.allclose(L1(0.4).project(z, x), expected, atol=1e-12)


def test_a_saturated_pixel_does_not_keep_the_mass_that_others_can_use() -> None:
    x = torch.tensor([[1.0, 0.5]], dtype=torch.float64)
    z = x + torch.tensor([[5.0, 0.3]], dtype=torch.float64)
    assert torch.allclose(L1(0.3).project(z, x), torch.tensor([[1.0, 0.8]], dtype=torch.float64), atol=1e-12)


def test_the_whole_corner_when_the_ball_is_wider_than_the_room() -> None:
    x = torch.tensor([[0.75, 0.25]], dtype=torch.float32)
    z = torch.tensor([[9.0, -9.0]], dtype=torch.float32)
    assert torch.equal(L1(3.0).project(z, x), torch.tensor([[1.0, 0.0]]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("reach", [0.1, 1.0, 100.0])
def test_images_use_nearly_all_of_the_ball(dtype: torch.dtype, reach: float) -> None:
    x = random_inputs(64, 1, 28, 28, dtype=dtype)
    z = x + reach * torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=dtype)
    size = L1(12).measure(L1(12).project(z, x), x)
    assert (size <= 12).all()
    assert (size >= 12 * (1 - 1e-5)).all()


@pytest.mark.parametrize(("dtype", "least"), [(torch.float16, 0.99), (torch.bfloat16, 0.95)])
def test_numbers_of_few_bits_still_use_most_of_the_ball(dtype: torch.dtype, least: float) -> None:
    x = random_inputs(16, 1, 28, 28, dtype=torch.float32).to(dtype)
    z = x + torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    size = L1(12).measure(L1(12).project(z, x), x)
    assert (size <= 12).all()
    assert (size >= 12 * least).all()


def test_a_point_just_outside_is_hardly_moved() -> None:
    x = random_inputs(64, 1, 28, 28, dtype=torch.float32)
    inside = L1(12).project(x + torch.randn(x.shape, generator=torch.Generator().manual_seed(1)), x)
    z = inside + L1(12).steepest_step(torch.randn(x.shape, generator=torch.Generator().manual_seed(2)), 1e-4)
    assert (L1(12).measure(L1(12).project(z, x), x) >= 12 * (1 - 1e-5)).all()


def test_projection_does_not_expand() -> None:
    x = random_inputs(50, 6, seed=3)
    a, b = x + torch.randn_like(x), x + torch.randn_like(x)
    apart = torch.linalg.vector_norm(L1(0.6).project(a, x) - L1(0.6).project(b, x), dim=1)
    assert (apart <= torch.linalg.vector_norm(a - b, dim=1) * (1 + 1e-9)).all()


def test_huge_and_broken_points_stay_inside() -> None:
    x = random_inputs(5, 5, dtype=torch.float32)
    z = x.clone()
    z[0], z[1], z[2, 0], z[3, 1], z[4, :2] = 3e38, -3e38, torch.inf, torch.nan, torch.tensor([1e30, 1e9])
    assert contains(L1(0.5), L1(0.5).project(z, x), x).all()


def test_a_step_moves_the_steepest_coordinate_and_the_first_of_equals() -> None:
    gradient = torch.tensor([[[1.0, -3.0], [3.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    assert L1(2).steepest_step(gradient, 0.5).tolist() == [
        [[0.0, -0.5], [0.0, 0.0]],
        [[0.0, 0.0], [0.0, 0.0]],
    ]


def test_samples_fill_the_ball_evenly() -> None:
    x = torch.full((4000, 2), 0.5)
    change = L1(0.4).sample(x, ExampleRNG(0, torch.arange(4000))) - x
    size = change.abs().sum(1) / 0.4
    assert size.square().mean().item() == pytest.approx(0.5, abs=0.02)
    assert (change[:, 0].abs() / change.abs().sum(1)).mean().item() == pytest.approx(0.5, abs=0.02)
    assert change.mean(0).abs().max().item() < 0.01


@pytest.mark.parametrize("eps", [-1, math.nan, math.inf, "12"])
def test_sizes_that_are_none_are_refused(eps: float) -> None:
    with pytest.raises(SettingError, match=r"eps = .*expected"):
        L1(eps)
