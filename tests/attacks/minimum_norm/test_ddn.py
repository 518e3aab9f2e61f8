"""DDN's sphere and its steps; and what every search for the smallest change returns."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from quintain.attacks import DDN, FAB, DeepFool, SuperDeepFool
from quintain.attacks.goal import Goal
from quintain.attacks.minimum_norm.ddn import scale_to_radius
from quintain.attacks.minimum_norm.refinement import find_initial_adversarial
from quintain.attacks.outcome import Model
from quintain.attacks.search import Search
from quintain.core.errors import SettingError
from quintain.testing import batch_invariant_net, random_inputs
from quintain.threats import L2
from quintain.threats.rng import example_rng

METHODS = [DDN(steps=25), FAB(steps=15), DeepFool(), SuperDeepFool()]
every_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)


def length(change: Tensor) -> Tensor:
    return torch.linalg.vector_norm(change.flatten(1), dim=1)


class Witness:
    """A model that remembers every point that it was asked about."""

    def __init__(self, features: int = 14, classes: int = 4) -> None:
        self.net, self.seen = batch_invariant_net(features, classes, seed=3), []

    def __call__(self, z: Tensor) -> Tensor:
        self.seen.append(z.detach().clone())
        return self.net(z)


@pytest.mark.parametrize("radius", [0.01, 0.5, 1.3])
def test_the_sphere_is_met_inside_the_box_from_within_and_from_without(radius: float) -> None:
    x = random_inputs(20, 1, 4, 6)
    change = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for scale in (1e-3, 1.0, 1e3):
        z = scale_to_radius(x, scale * change, torch.full((20, 1), radius, dtype=torch.float64), 0.0, 1.0)
        assert torch.allclose(length(z - x), torch.full((20,), radius, dtype=torch.float64))
        assert ((z >= 0) & (z <= 1)).all()
        assert ((z - x) * change >= 0).all()


def test_a_sphere_beyond_the_box_leads_to_the_corner_and_no_change_stays_none() -> None:
    x = random_inputs(5, 7)
    change = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    change[0] = 0
    z = scale_to_radius(x, change, torch.full((5, 1), 99.0, dtype=torch.float64), 0.0, 1.0)
    assert torch.equal(z[1:], torch.where(change > 0, 1.0, 0.0).double()[1:])
    assert torch.equal(z[0], x[0])


def start_of(model: Model, x: Tensor, y: Tensor) -> Search:
    """The search after the start alone."""
    search = Search(model, x, Goal(y), L2(9.0), example_rng(x, 0), name="start", minimum_norm=True)
    find_initial_adversarial(search, search.active_rows)
    return search


def test_radii_start_at_a_success_and_follow_the_answers() -> None:
    x = torch.full((1, 100), 0.5, dtype=torch.float64)
    witness = Witness(100)
    y = witness.net(x).argmax(1)
    start = start_of(witness.net, x, y)
    first, expected = int(start.model.forwards), float(start.best_size)
    DDN(steps=8, gamma=0.05)(witness, x, y, L2(9.0))
    iterates = witness.seen[first : first + 9]
    assert torch.equal(iterates[0], start.best)
    for last, point in pairwise(iterates):
        expected *= 0.95 if witness.net(last).argmax(1) != y else 1.05
        assert float(length(point - x)) == pytest.approx(expected)


def test_without_a_success_to_start_from_it_starts_at_the_clean_point_with_the_width_of_the_box() -> None:
    x, seen = torch.full((1, 100), 0.5, dtype=torch.float64), []

    def never(z: Tensor) -> Tensor:
        seen.append(z.detach().clone())
        return torch.stack((z.sum(1) * 1e-3 + 1e3, z.square().sum(1) * 1e-2), 1)

    y = torch.zeros(1, dtype=torch.long)
    start = start_of(never, x, y)
    assert start.best_size.isinf().all()
    first = int(start.model.forwards)
    seen.clear()
    DDN(steps=2, gamma=0.05)(never, x, y, L2(9.0))
    assert torch.equal(seen[first], x)
    assert [float(length(z - x)) for z in seen[first + 1 : first + 3]] == pytest.approx([1.05, 1.05**2])


def test_iterates_are_not_rounded_to_levels() -> None:
    witness, x = Witness(), random_inputs(6, 14)
    DDN(steps=5)(witness, x, witness.net(x).argmax(1), L2(9.0))
    levels = witness.seen[4] * 255
    assert ((levels - levels.round()).abs() > 1e-3).any(1).all()


def test_the_first_radius_and_the_steps_are_in_units_of_the_box() -> None:
    x = random_inputs(12, 14, seed=2)
    model = batch_invariant_net(14, 4, seed=3)
    y = model(x).argmax(1)
    for method in METHODS:
        plain = method(model, x, y, L2(3.0))
        scaled = method(lambda z: model(z / 255), x * 255, y, L2(3.0 * 255, low=0, high=255))
        assert torch.allclose(scaled.size, 255 * plain.size, rtol=1e-5)


@every_method
def test_the_smallest_break_of_all_that_was_asked_is_returned(
    method: DDN | FAB | DeepFool | SuperDeepFool,
) -> None:
    for row in range(6):
        witness, x = Witness(), random_inputs(6, 14, seed=2)[row : row + 1]
        y = witness.net(x).argmax(1)
        outcome = method(witness, x, y, L2(9.0))
        asked = torch.cat(witness.seen)
        broken = witness.net(asked).argmax(1) != y
        assert outcome.success.all()
        assert float(outcome.size) == float(length(asked - x)[broken].min())


@every_method
def test_all_wrong_already_is_all_broken_at_no_change(method: DDN | FAB | DeepFool | SuperDeepFool) -> None:
    x = random_inputs(6, 14, seed=2)
    model = batch_invariant_net(14, 4, seed=3)
    outcome = method(model, x, (model(x).argmax(1) + 1) % 4, L2(1.0))
    assert (outcome.size == 0).all()
    assert torch.equal(outcome.adversarial, x)
    assert (outcome.backwards == 0).all()


@every_method
def test_float32_ends_where_float64_does(method: DDN | FAB | DeepFool | SuperDeepFool) -> None:
    x = random_inputs(20, 14, seed=2)
    model = batch_invariant_net(14, 4, seed=3)
    y = model(x).argmax(1)
    exact = method(model, x, y, L2(9.0))
    single = method(lambda z: model(z.double()).float(), x.float(), y, L2(9.0))
    assert torch.equal(exact.success, single.success)
    assert (single.size / exact.size).median().item() == pytest.approx(1, abs=1e-3)


@every_method
def test_an_answer_that_is_nan_beyond_the_threat_ends_the_search_without_an_error(
    method: DDN | FAB | DeepFool | SuperDeepFool,
) -> None:
    x = torch.full((4, 14), 0.5, dtype=torch.float64)

    def ill(z: Tensor) -> Tensor:
        lead = (z - 0.5).sum(1) - 2.0
        return torch.stack([torch.zeros_like(lead), torch.where(length(z - 0.5) > 0.2, math.nan, lead)], 1)

    near, far = (method(ill, x, torch.zeros(4, dtype=torch.long), L2(eps)) for eps in (0.1, 3.0))
    assert not near.error.any()
    assert not near.success.any()
    assert far.error.all()


@pytest.mark.parametrize(("setting", "value"), [("steps", 0), ("gamma", 0.0), ("gamma", 1.0)])
def test_settings_out_of_range_are_refused(setting: str, value: float) -> None:
    with pytest.raises(SettingError, match=f"{setting} = .*; expected"):
        DDN(**{setting: value})
