import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quintain.core.errors import SettingError
from quintain.testing import random_inputs
from quintain.threats import L2, ExampleRNG, contains

pytestmark = pytest.mark.rounding


def nearest_by_faces(ball: L2, z: np.ndarray, x: np.ndarray) -> float:
    """Distance to the nearest allowed point: each coordinate low, high or free, the free ones on the ball or
    inside it.
    """
    best = math.inf
    for face in itertools.product((ball.low, ball.high, None), repeat=len(x)):
        free = np.array([side is None for side in face])
        point = np.array([z[i] if side is None else side for i, side in enumerate(face)])
        rest = ball.eps**2 - ((point - x)[~free] ** 2).sum()
        if rest < 0:
            continue
        length = np.linalg.norm((point - x)[free])
        if length**2 > rest:
            point[free] = x[free] + (point - x)[free] * math.sqrt(rest) / length
        if (point >= ball.low - 1e-12).all() and (point <= ball.high + 1e-12).all():
            best = min(best, float(np.linalg.norm(point - z)))
    return best


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 4),
    st.integers(0, 2**20),
    st.sampled_from([0.01, 0.1, 0.4, 0.9, 1.5]),
    st.sampled_from([0.05, 0.5, 3.0, 1e4]),
)
def test_projection_against_every_face(features: int, seed: int, eps: float, reach: float) -> None:
    ball = L2(eps)
    x = random_inputs(4, features, seed=seed)
    z = x + reach * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    distance = torch.linalg.vector_norm(ball.project(z, x) - z, dim=1)
    for row in range(4):
        assert (
            distance[row].item()
            <= nearest_by_faces(ball, z[row].numpy(), x[row].numpy()) * (1 + 1e-6) + 1e-12
        )


def test_a_worked_projection_with_one_coordinate_at_the_wall() -> None:
    x = torch.tensor([[0.9, 0.5, 0.5]], dtype=torch.float64)
    z = torch.tensor([[1.9, 1.5, 0.5]], dtype=torch.float64)
    expected = torch.tensor([[1.0, 0.5 + math.sqrt(0.25 - 0.01), 0.5]], dtype=torch.float64)
    assert torch.allclose(L2(0.5).project(z, x), expected, atol=1e-12)


def test_the_whole_corner_when_the_ball_is_wider_than_the_room() -> None:
    x = torch.tensor([[0.75, 0.25]], dtype=torch.float32)
    z = torch.tensor([[9.0, -9.0]], dtype=torch.float32)
    assert torch.equal(L2(3.0).project(z, x), torch.tensor([[1.0, 0.0]]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_images_use_nearly_all_of_the_ball(dtype: torch.dtype) -> None:
    x = random_inputs(16, 1, 28, 28, dtype=dtype)
    z = x + torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=dtype)
    size = L2(0.5).measure(L2(0.5).project(z, x), x)
    assert (size <= 0.5).all()
    assert (size >= 0.5 * (1 - 2e-6)).all()


def test_projection_does_not_expand() -> None:
    x = random_inputs(50, 6, seed=3)
    a, b = x + torch.randn_like(x), x + torch.randn_like(x)
    apart = torch.linalg.vector_norm(L2(0.4).project(a, x) - L2(0.4).project(b, x), dim=1)
    assert (apart <= torch.linalg.vector_norm(a - b, dim=1) * (1 + 1e-9)).all()


def test_a_sample_is_the_same_number_wherever_it_stands_in_the_batch() -> None:
    x, draw = 0.4 + 0.2 * random_inputs(300, 1, 4, 4), ExampleRNG(5, torch.arange(300))
    whole = L2(0.1).sample(x, draw)
    for size in (1, 7, 64):
        parts = torch.arange(300).split(size)
        assert torch.equal(torch.cat([L2(0.1).sample(x[part], draw.select(part)) for part in parts]), whole)


def test_huge_and_broken_points_stay_inside() -> None:
    x = random_inputs(4, 5, dtype=torch.float32)
    z = x.clone()
    z[0], z[1], z[2, 0], z[3, 1] = 3e38, -3e38, torch.inf, torch.nan
    assert contains(L2(0.5), L2(0.5).project(z, x), x).all()


@pytest.mark.parametrize("eps", [-1, math.nan, math.inf, "0.5"])
def test_sizes_that_are_none_are_refused(eps: float) -> None:
    with pytest.raises(SettingError, match=r"eps = .*expected"):
        L2(eps)


def test_a_large_radius_is_no_mistake() -> None:
    assert L2(8).eps == 8.0
    assert L2(8).spec == "l2:8.0"


def test_samples_fill_the_ball_evenly() -> None:
    x = torch.full((4000, 2), 0.5)
    change = L2(0.4).sample(x, ExampleRNG(0, torch.arange(4000))) - x
    radius = torch.linalg.vector_norm(change, dim=1) / 0.4
    assert radius.square().mean().item() == pytest.approx(0.5, abs=0.02)
    assert change.mean(0).abs().max().item() < 0.01
