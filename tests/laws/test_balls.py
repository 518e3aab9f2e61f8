"""Every registered ball, every dtype, half of the inputs on the faces of the box."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quintain.core.registry import entries
from quintain.threats import L2, Linf, contains, parse
from quintain.threats.rounding import box_inside
from tests.laws.attack_pairs import ball_of
from tests.laws.checks_attacks import (
    check_ascend_steepest,
    check_projection_idempotent,
    check_projection_inside,
    check_projection_nearest,
    check_sample_inside,
    inputs,
)

BALLS = {name: entry for name, entry in entries("threat").items() if entry.fact("family") == "ball"}
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
SHAPES = ((1,), (3,), (1, 4, 4), (3, 5, 2))


@st.composite
def cases(draw: st.DrawFn, dtypes: tuple[torch.dtype, ...] = DTYPES, shapes: tuple[tuple[int, ...], ...] = SHAPES):
    """A ball, points of its box, half of their values on faces and some on the 8-bit grid, and points that may lie anywhere."""
    name, dtype, shape = draw(st.sampled_from(sorted(BALLS))), draw(st.sampled_from(dtypes)), draw(st.sampled_from(shapes))
    eps = draw(st.one_of(st.sampled_from([0.0, 1e-9, 1 / 255, 8 / 255, 0.3, 1.0]), st.floats(0, 1)))
    ball = replace(ball_of(name), eps=eps)
    seed, count = draw(st.integers(0, 2**20)), draw(st.integers(1, 4))
    x = inputs(count, *shape, seed=seed, dtype=dtype)
    if draw(st.booleans()):
        x = ((x * 255).round() / 255).clamp(0, 1)
    reach = draw(st.sampled_from([1e-6, eps, 0.1, 1.0, 100.0]))
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed + 1))
    return ball, (x + (reach * noise)).to(dtype), x


@settings(max_examples=150, deadline=None)
@given(cases())
def test_projection_is_inside(case) -> None:
    check_projection_inside(*case)


@settings(max_examples=100, deadline=None)
@given(cases())
def test_projection_is_idempotent(case) -> None:
    check_projection_idempotent(*case)


@settings(max_examples=25, deadline=None)
@given(cases(dtypes=(torch.float32, torch.float64), shapes=((1,), (2,), (3,), (2, 2))))
def test_projection_is_the_nearest_allowed_point(case) -> None:
    ball, z, x = case
    check_projection_nearest(ball, z.double(), x.double(), tries=60)


@pytest.mark.parametrize("kind", [Linf, L2])
@pytest.mark.parametrize("box", [(0.1, 0.9), (-1.0, 2.0), (-0.7, -0.1)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_other_boxes_are_kept(kind: type, box: tuple[float, float], dtype: torch.dtype) -> None:
    low, high = box_inside(*box, dtype)
    x = (inputs(6, 3, 4, dtype=dtype) * (high - low) + low).clamp(low, high)
    ball = kind(0.3, *box)
    z = x + torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    check_projection_inside(ball, z, x)
    check_projection_idempotent(ball, z, x)
    check_sample_inside(ball, x)
    assert (ball.measure(ball.project(z, x), x) > 0.2).all()


@settings(max_examples=60, deadline=None)
@given(cases())
def test_samples_are_inside(case) -> None:
    ball, _, x = case
    check_sample_inside(ball, x)


@pytest.mark.parametrize("name", sorted(BALLS))
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_steps_are_the_steepest(name: str, scale: float) -> None:
    gradient = torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(0)) * scale
    check_ascend_steepest(ball_of(name), gradient, 0.3)


@pytest.mark.parametrize("name", sorted(BALLS))
def test_tokens_are_exact(name: str) -> None:
    ball = ball_of(name)
    for eps in (0.0, 1 / 255, 2 / 255, 8 / 255, 0.1, 1 / 3, 0.5, 254 / 255, 1.0, 1e-12, 0.1 + 0.2):
        again = parse(replace(ball, eps=eps).token)
        assert again == replace(ball, eps=eps)
        assert hash(again) == hash(replace(ball, eps=eps))


@pytest.mark.parametrize("name", sorted(BALLS))
def test_a_point_that_is_not_a_number_is_never_allowed(name: str) -> None:
    x = torch.full((2, 3), 0.5)
    z = x.clone()
    z[1, 2] = torch.nan
    assert contains(ball_of(name), z, x).tolist() == [True, False]
    assert contains(ball_of(name), ball_of(name).project(z, x), x)[0]


@pytest.mark.parametrize("name", sorted(BALLS))
def test_an_empty_batch_stays_empty(name: str) -> None:
    x = torch.empty(0, 1, 3)
    assert ball_of(name).project(x, x).shape == x.shape
    assert contains(ball_of(name), x, x).shape == (0,)
