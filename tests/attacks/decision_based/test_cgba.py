"""Half circles against geometry."""

import pytest
import torch

from quintain.attacks import CGBA
from quintain.attacks.decision_based.cgba import half_circle_path
from quintain.core.errors import SettingError
from quintain.testing import random_inputs, smallest_linear_change
from quintain.threats import L2

BOX = (0.0, 1.0)


def at(path, count, share):
    return path(torch.full((count,), share, dtype=torch.float64), torch.arange(count))


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_it_begins_at_the_point_ends_at_the_input_and_gets_nearer_all_the_way():
    x, z = random_inputs(6, 8, seed=1), random_inputs(6, 8, seed=2)
    path = half_circle_path(z, x, draws(6, 8), BOX)
    assert torch.equal(at(path, 6, 0.0), z)
    assert torch.equal(at(path, 6, 1.0), x)
    wide = half_circle_path(z, x, draws(6, 8), (-9.0, 9.0))
    sizes = torch.stack([(at(wide, 6, share) - x).norm(dim=1) for share in torch.linspace(0, 1, 30).tolist()])
    assert (sizes.diff(dim=0) <= 1e-12).all()


def test_it_is_a_circle_through_both_in_the_plane_of_change_and_normal():
    x, z, normal = draws(4, 5, seed=1), draws(4, 5, seed=2), draws(4, 5, seed=3)
    path = half_circle_path(z, x, normal, (-99.0, 99.0))
    for share in (0.1, 0.5, 0.9):
        point = at(path, 4, share)
        assert torch.allclose((point - (x + z) / 2).norm(dim=1), (z - x).norm(dim=1) / 2)
        assert (
            torch.linalg.matrix_rank(torch.stack([point - x, z - x, normal], 1), atol=1e-9).tolist()
            == [2] * 4
        )


def test_with_the_true_normal_the_flat_boundary_is_met_at_its_nearest_point():
    x, z, w = draws(3, 7, seed=1), draws(3, 7, seed=2), draws(7, seed=3)
    z = torch.where(((z - x) @ w > 0)[:, None], z, 2 * x - z)
    path = half_circle_path(z, x, w.expand(3, 7), (-99.0, 99.0))
    foot = x + ((z - x) @ w / w.square().sum())[:, None] * w
    nearest = min(
        (
            torch.stack(
                [(at(path, 3, share) - foot).norm(dim=1) for share in torch.linspace(0, 1, 4000).tolist()]
            )
        ).amin(0)
    )
    assert nearest < 1e-2


def test_with_true_normals_the_circles_end_at_the_nearest_point_of_ball_and_box():
    x, w = random_inputs(12, 20, seed=3), draws(20, seed=4)
    need = 0.4 * (w.abs() * torch.where(w > 0, 1 - x, x)).sum(1)
    level = x @ w + need
    z = (w > 0).double().expand_as(x).clone()
    for _ in range(60):
        path, low, high = (
            half_circle_path(z, x, w.expand_as(x), BOX),
            torch.zeros(12, dtype=torch.float64),
            torch.ones(12, dtype=torch.float64),
        )
        for _ in range(40):
            middle = (low + high) / 2
            broken = path(middle, torch.arange(12)) @ w >= level
            low, high = torch.where(broken, middle, low), torch.where(broken, high, middle)
        z = path(low, torch.arange(12))
    best = smallest_linear_change(L2(9.0), w, need, x)
    assert ((z - x).norm(dim=1) <= best * 1.001).all()
    assert ((z == 0) | (z == 1)).any()


def test_no_normal_leaves_the_straight_way():
    x, z = torch.zeros(1, 3, dtype=torch.float64), torch.full((1, 3), 0.5, dtype=torch.float64)
    path = half_circle_path(z, x, torch.zeros(1, 3, dtype=torch.float64), BOX)
    point = at(path, 1, 0.5)
    assert torch.allclose(point, z / 2)


def test_a_curved_boundary():
    x = torch.full((5, 10), 0.45, dtype=torch.float64) + 0.02 * draws(5, 10)
    distance = (x - 0.5).norm(dim=1)

    def shell(z):
        r = (z.flatten(1) - 0.5).norm(dim=1)
        return torch.stack([torch.zeros_like(r), r - 0.4], 1)

    outcome = CGBA(queries=3000)(shell, x, torch.zeros(5, dtype=torch.long), L2(1.0))
    assert (outcome.size / (0.4 - distance)).max() < 1.02


def test_early_stopping_costs_less():
    x, y = torch.full((3, 6), 0.4), torch.zeros(3, dtype=torch.long)

    def far(z):
        total = z.sum(1)
        return torch.stack([torch.full_like(total, 2.8), total], 1)

    soon, late = (CGBA(queries=800, early_stop=early)(far, x, y, L2(0.6)) for early in (True, False))
    assert soon.success.all()
    assert (soon.forwards < late.forwards).all()


@pytest.mark.parametrize("settings", [{"queries": 0}, {"initial_probes": 0}, {"init_tries": -1}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(SettingError, match=next(iter(settings))):
        CGBA(**settings)
