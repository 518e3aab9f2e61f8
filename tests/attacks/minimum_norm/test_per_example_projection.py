"""Projections with a radius for each example, against the balls' own, which have one for all."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from quintain.attacks.minimum_norm.per_example_projection import change_norm, dual_norm, project_to_radius
from quintain.testing import random_inputs
from quintain.threats import L0, L1, L2, Linf, Threat

BALLS = [Linf(0.2), L2(1.1), L1(3.0), L0(7)]
every_ball = pytest.mark.parametrize("ball", BALLS, ids=lambda ball: ball.spec)


def points(count: int = 16) -> tuple[Tensor, Tensor]:
    """Clean color images, half of their values on the faces, and points around them, many outside the box."""
    x = random_inputs(count, 3, 4, 5)
    return x, x + 0.4 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@every_ball
def test_each_radius_projects_as_the_ball_of_that_radius_does(ball: Threat) -> None:
    x, z = points()
    radius = torch.arange(16) % 9 * ball.eps / 4
    radius = radius.floor() if isinstance(ball, L0) else radius
    together = project_to_radius(ball, z, x, radius)
    for row in range(16):
        alone = replace(ball, eps=float(radius[row])).project(z[row : row + 1], x[row : row + 1])
        assert torch.allclose(together[row : row + 1], alone, rtol=0, atol=1e-7)


@every_ball
def test_how_the_batch_is_cut_changes_no_bit(ball: Threat) -> None:
    x, z = points()
    radius = torch.linspace(0, 2, 16, dtype=torch.float64) * ball.eps
    together = project_to_radius(ball, z, x, radius)
    assert all(
        torch.equal(project_to_radius(ball, z[i : i + 1], x[i : i + 1], radius[i : i + 1])[0], together[i])
        for i in range(16)
    )


@every_ball
def test_radius_zero_is_the_clean_point_and_an_infinite_one_is_the_box(ball: Threat) -> None:
    x, z = points()
    assert torch.allclose(project_to_radius(ball, z, x, torch.zeros(16)), x, rtol=0, atol=1e-15)
    assert torch.allclose(
        project_to_radius(ball, z, x, torch.full((16,), torch.inf)), z.clamp(0, 1), rtol=0, atol=1e-15
    )


def test_ball_and_box_at_once_is_nearer_than_one_after_the_other() -> None:
    x, z = torch.tensor([[0.9, 0.5]]), torch.tensor([[1.9, 1.0]])
    radius = torch.tensor([0.4])
    assert torch.allclose(project_to_radius(L1(1.0), z, x, radius), torch.tensor([[1.0, 0.8]]))
    shrunk = x + (z - x - 0.6).clamp(min=0)
    assert float(change_norm(L1(1.0), shrunk.clamp(0, 1) - x)) < 0.11


@every_ball
def test_lengths_are_the_balls_sizes(ball: Threat) -> None:
    x, z = points()
    z[0] = x[0]
    assert torch.allclose(change_norm(ball, z - x), ball.measure(z, x))


@pytest.mark.parametrize("ball", BALLS[:3], ids=lambda ball: ball.spec)
def test_steepness_is_what_the_steepest_unit_step_gains(ball: Threat) -> None:
    gradient = torch.randn(8, 3, 4, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    gained = (ball.steepest_step(gradient, 1.0) * gradient).flatten(1).sum(1)
    assert torch.allclose(dual_norm(ball, gradient), gained)


@every_ball
def test_float32_keeps_its_dtype_and_an_odd_box(ball: Threat) -> None:
    odd = replace(ball, low=-0.1, high=0.7)
    x, z = (part.float() * 0.8 - 0.1 for part in points())
    p = project_to_radius(odd, z, x.clamp(-0.09, 0.69), torch.full((16,), ball.eps, dtype=torch.float64))
    assert p.dtype == torch.float32
    assert ((p.double() >= odd.low) & (p.double() <= odd.high)).all()
