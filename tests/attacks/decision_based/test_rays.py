"""RayS against all signs."""

import itertools

import pytest
import torch

from quintain.attacks import RayS
from quintain.core.errors import SettingError
from quintain.testing import random_inputs
from quintain.threats import Linf


def nearest_corner_ray(model, x):
    """The least radius over all 2^d rays, by bisection on each."""
    best = torch.full((len(x),), torch.inf, dtype=torch.float64)
    for signs in itertools.product((-1.0, 1.0), repeat=x.shape[1]):
        direction = torch.tensor(signs, dtype=torch.float64)
        low, high = torch.zeros(len(x), dtype=torch.float64), torch.ones(len(x), dtype=torch.float64)
        met = model((x + direction).clamp(0, 1)).argmax(1) == 1
        for _ in range(40):
            middle = (low + high) / 2
            broken = model((x + middle[:, None] * direction).clamp(0, 1)).argmax(1) == 1
            low, high = torch.where(broken, low, middle), torch.where(broken, middle, high)
        size = ((x + high[:, None] * direction).clamp(0, 1) - x).abs().amax(1)
        best = torch.where(met, torch.minimum(best, size), best)
    return best


def test_it_finds_the_nearest_ray_of_all():
    x = random_inputs(12, 6, seed=2)
    w = torch.randn(6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def line(z):
        value = (z - 0.5) @ w - 0.5
        return torch.stack([torch.zeros_like(value), value], 1)

    right = line(x).argmax(1) == 0
    outcome = RayS()(line, x[right], torch.zeros(int(right.sum()), dtype=torch.long), Linf(1.0))
    least = nearest_corner_ray(line, x[right])
    assert torch.equal(outcome.success, least.isfinite())
    assert torch.allclose(outcome.size[outcome.success], least[outcome.success], rtol=2e-3)


def test_nothing_is_random_and_it_ends_before_its_questions():
    x = torch.full((2, 1, 3, 3), 0.4)

    def dark(z):
        total = z.flatten(1).sum(1)
        return torch.stack([total, torch.full_like(total, 3.0)], 1)

    first, second = (
        RayS()(dark, x, torch.zeros(2, dtype=torch.long), Linf(0.5), seed=seed) for seed in (0, 9)
    )
    assert torch.equal(first.adversarial, second.adversarial)
    assert first.success.all()
    assert (first.size - (3.6 - 3.0) / 9).abs().max() < 1e-3
    assert (first.forwards < 200).all()


def test_a_flip_that_does_not_help_costs_one_question():
    x = torch.full((1, 4), 0.5)
    asked = []

    def never(z):
        asked.append(z.clone())
        return torch.tensor([[1.0, 0.0]]).expand(len(z), 2)

    outcome = RayS()(never, x, torch.zeros(1, dtype=torch.long), Linf(1.0))
    corners = {tuple(z.flatten().tolist()) for z in asked[1:]}
    assert int(outcome.forwards) == len(asked) == 1 + 1 + 1 + 2 + 4
    assert (1.0, 1.0, 1.0, 1.0) in corners
    assert (0.0, 0.0, 1.0, 1.0) in corners
    assert (1.0, 1.0, 1.0, 0.0) in corners


def test_a_value_that_does_not_matter_is_not_flipped_for_ever():
    x = torch.full((1, 6), 0.5, dtype=torch.float64)

    def first(z):
        return torch.stack([torch.full((len(z),), 0.8, dtype=z.dtype), z[:, 0]], 1)

    outcome = RayS()(first, x, torch.zeros(1, dtype=torch.long), Linf(1.0))
    assert float(outcome.size) == pytest.approx(0.3, rel=2e-3)
    assert int(outcome.forwards) < 80


def test_early_stopping_ends_at_the_first_change_within_the_threat():
    x, y = torch.full((2, 8), 0.4), torch.zeros(2, dtype=torch.long)

    def mixed(z):
        value = z @ torch.tensor([1.0, -1.0] * 4)
        return torch.stack([torch.full_like(value, 0.5), value], 1)

    soon, late = (RayS(early_stop=early)(mixed, x, y, Linf(0.3)) for early in (True, False))
    assert soon.success.all()
    assert (late.size <= soon.size).all()
    assert (soon.forwards < late.forwards).all()
    assert late.size[0] == pytest.approx(0.5 / 8, rel=2e-3)


def test_a_budget_below_two_is_refused():
    with pytest.raises(SettingError, match="queries = 1"):
        RayS(queries=1)
