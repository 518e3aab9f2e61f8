"""Every registered ball, every dtype, half of the inputs on the faces of the box."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quintain.core.registry import declared_entries
from quintain.testing import (
    check_empty_batch,
    check_nan_not_allowed,
    check_projection_idempotent,
    check_projection_inside,
    check_projection_nearest,
    check_sample_inside,
    check_spec,
    check_steepest_step,
    check_threat,
    example_threat,
    random_inputs,
    threat_of_size,
)
from quintain.threats.rounding import representable_box

BALLS = {name: entry for name, entry in declared_entries("threat").items() if not entry.is_true("parametric")}
every_ball = pytest.mark.parametrize("name", sorted(BALLS))
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
SHAPES = ((1,), (3,), (1, 4, 4), (3, 5, 2))


@st.composite
def cases(
    draw: st.DrawFn,
    name: str,
    dtypes: tuple[torch.dtype, ...] = DTYPES,
    shapes: tuple[tuple[int, ...], ...] = SHAPES,
):
    """A size of a ball, points of its box, half of their values on faces and some on the 8-bit grid, and
    points that may lie anywhere.
    """
    dtype = draw(st.sampled_from(dtypes))
    shape = draw(
        st.sampled_from(
            [shape for shape in shapes if len(shape) > 1 or BALLS[name].is_true("images_only") is False]
        )
    )
    whole = BALLS[name].is_true("whole_sizes")
    eps = draw(
        st.integers(0, 20)
        if whole
        else st.one_of(st.sampled_from([0.0, 1e-9, 1 / 255, 8 / 255, 0.3, 1.0]), st.floats(0, 1))
    )
    ball = threat_of_size(name, eps)
    seed, count = draw(st.integers(0, 2**20)), draw(st.integers(1, 4))
    x = random_inputs(count, *shape, seed=seed, dtype=dtype)
    if draw(st.booleans()):
        x = ((x * 255).round() / 255).clamp(0, 1)
    reach = draw(st.sampled_from([1e-6, eps, 0.1, 1.0, 100.0]))
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed + 1))
    return ball, (x + (reach * noise)).to(dtype), x


@every_ball
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_projection_is_inside(name: str, data: st.DataObject) -> None:
    check_projection_inside(*data.draw(cases(name)))


@every_ball
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_projection_is_idempotent(name: str, data: st.DataObject) -> None:
    check_projection_idempotent(*data.draw(cases(name)))


@every_ball
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_projection_is_the_nearest_allowed_point(name: str, data: st.DataObject) -> None:
    few = cases(name, dtypes=(torch.float32, torch.float64), shapes=((1,), (2,), (3,), (2, 2)))
    check_projection_nearest(*data.draw(few), tries=60)


@every_ball
@pytest.mark.parametrize("box", [(0.1, 0.9), (-1.0, 2.0), (-0.7, -0.1)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_other_boxes_are_kept(name: str, box: tuple[float, float], dtype: torch.dtype) -> None:
    low, high = representable_box(*box, dtype)
    x = (random_inputs(6, 3, 4, dtype=dtype) * (high - low) + low).clamp(low, high)
    ball = replace(threat_of_size(name, 0.6), low=box[0], high=box[1])
    z = x + torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    check_projection_inside(ball, z, x)
    check_projection_idempotent(ball, z, x)
    check_sample_inside(ball, x)
    assert (ball.measure(ball.project(z, x), x) > 0.2).all()


@every_ball
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_samples_are_inside(name: str, data: st.DataObject) -> None:
    ball, _, x = data.draw(cases(name))
    check_sample_inside(ball, x)


@every_ball
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_steps_are_the_steepest(name: str, scale: float) -> None:
    gradient = torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(0)) * scale
    check_steepest_step(example_threat(name), gradient, 2.0 if BALLS[name].is_true("whole_sizes") else 0.3)


@every_ball
def test_tokens_are_exact(name: str) -> None:
    for eps in (0.0, 1 / 255, 2 / 255, 8 / 255, 0.1, 1 / 3, 0.5, 254 / 255, 1.0, 1e-12, 0.1 + 0.2):
        for box in ((0.0, 1.0), (-1.0, 2.0)):
            ball = replace(threat_of_size(name, eps), low=box[0], high=box[1])
            check_spec(ball)


@every_ball
def test_a_point_that_is_not_a_number_is_never_allowed(name: str) -> None:
    check_nan_not_allowed(example_threat(name))


@every_ball
def test_an_empty_batch_stays_empty(name: str) -> None:
    check_empty_batch(example_threat(name))


@every_ball
def test_a_third_party_can_check_all_of_it_at_once(name: str) -> None:
    check_threat(example_threat(name))
