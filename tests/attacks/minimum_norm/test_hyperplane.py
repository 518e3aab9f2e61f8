"""The projection against linear programmes, an independent bisection, and its corners."""

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor

from quintain.attacks.minimum_norm.hyperplane import ORDER, Norm, project_onto_hyperplane
from quintain.testing import random_inputs, smallest_linear_change
from quintain.threats import L1, L2, Linf
from quintain.threats.piecewise_linear import solve_capped_sum

NORMS: tuple[Norm, ...] = ("linf", "l2", "l1")
BALLS = {"linf": Linf(1.0), "l2": L2(9.0), "l1": L1(60.0)}


def task(
    count: int, features: int, *, share: float = 0.5, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Points half on the faces, normals, a share of the capacity, and the capacity (n,)."""
    generator = torch.Generator().manual_seed(seed)
    z = random_inputs(count, features, seed=seed)
    w = torch.randn(count, features, generator=generator, dtype=torch.float64)
    capacity = (w.abs() * torch.where(w > 0, 1 - z, z)).sum(1)
    return z, w, share * capacity, capacity


def size(change: Tensor, norm: Norm) -> Tensor:
    return torch.linalg.vector_norm(change, ORDER[norm], dim=1)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("share", [0.01, pytest.param(0.3, marks=pytest.mark.exhaustive), 0.7, 0.99])
def test_it_lands_on_the_plane_inside_the_box_and_no_smaller_change_does(norm: Norm, share: float) -> None:
    z, w, rise, _ = task(40, 30, share=share)
    change = project_onto_hyperplane(norm, z, w, rise, 0, 1)
    assert torch.allclose((w * change).sum(1), rise, rtol=1e-12)
    assert ((z + change >= -1e-15) & (z + change <= 1 + 1e-15)).all()
    least = torch.cat(
        [smallest_linear_change(BALLS[norm], w[i], rise[i : i + 1], z[i : i + 1]) for i in range(40)]
    )
    assert torch.allclose(size(change, norm), least, rtol=1e-9)


@pytest.mark.parametrize("norm", ["linf", "l1"])
def test_it_agrees_with_a_linear_programme(norm: Norm) -> None:
    z, w, rise, _ = task(12, 4, share=0.6, seed=3)
    change = project_onto_hyperplane(norm, z, w, rise, 0, 1)
    for i in range(12):
        box = [(-float(value), 1 - float(value)) for value in z[i]]
        bounds = [(0.0, None)] * (1 if norm == "linf" else 4)
        cover = np.ones((4, 1)) if norm == "linf" else np.eye(4)
        rows = np.block([[np.eye(4), -cover], [-np.eye(4), -cover]])
        plane = np.concatenate((w[i].numpy(), np.zeros(len(bounds))))[None]
        cost = np.concatenate((np.zeros(4), np.ones(len(bounds))))
        best = linprog(
            cost, A_ub=rows, b_ub=np.zeros(8), A_eq=plane, b_eq=rise[i : i + 1].numpy(), bounds=box + bounds
        )
        assert float(size(change, norm)[i]) == pytest.approx(best.fun, rel=1e-7)


def test_the_nearest_in_l2_meets_the_optimality_conditions() -> None:
    z, w, rise, _ = task(30, 20, share=0.8, seed=1)
    change = project_onto_hyperplane("l2", z, w, rise, 0, 1)
    free = (z + change > 1e-12) & (z + change < 1 - 1e-12)
    multiplier = torch.where(free, change / w, -torch.inf).amax(1, keepdim=True)
    assert free.any(1).all()
    assert torch.allclose(change[free], (multiplier * w)[free], rtol=1e-9)
    assert ((change.abs() <= (multiplier * w).abs() + 1e-12) | free).all()


@pytest.mark.parametrize("norm", NORMS)
def test_too_much_to_ask_leads_to_the_corner(norm: Norm) -> None:
    z, w, _, capacity = task(20, 9)
    corner = torch.where(w > 0, 1.0, 0.0).double()
    for excess in (1.0001, 3.0, 1e12):
        assert torch.allclose(
            z + project_onto_hyperplane(norm, z, w, excess * capacity, 0, 1), corner, atol=1e-12
        )


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_nothing_asked_and_nothing_to_follow_move_nothing(norm: Norm, dtype: torch.dtype) -> None:
    z, w, rise, _ = (part.to(dtype) for part in task(6, 5))
    w[:, 2] = 0
    assert (project_onto_hyperplane(norm, z, w, 0 * rise, 0, 1) == 0).all()
    assert (project_onto_hyperplane(norm, z, 0 * w, rise, 0, 1) == 0).all()
    change = project_onto_hyperplane(norm, z, w, rise, 0, 1)
    assert (change[:, 2] == 0).all()
    assert change.isfinite().all()


@pytest.mark.parametrize("norm", NORMS)
def test_a_negative_rise_is_a_rise_along_the_opposite_normal(norm: Norm) -> None:
    z, w, rise, _ = task(10, 8)
    assert torch.equal(
        project_onto_hyperplane(norm, z, -w, -rise, 0, 1), project_onto_hyperplane(norm, z, w, rise, 0, 1)
    )


@pytest.mark.parametrize("norm", NORMS)
def test_the_box_scales_and_mirrors_with_the_data(norm: Norm) -> None:
    z, w, rise, _ = task(10, 8)
    change = project_onto_hyperplane(norm, z, w, rise, 0, 1)
    assert torch.allclose(project_onto_hyperplane(norm, 255 * z - 9, w / 255, rise, -9, 246), 255 * change)
    assert torch.allclose(project_onto_hyperplane(norm, 1 - z, -w, rise, 0, 1), -change)


@pytest.mark.parametrize("norm", NORMS)
def test_each_row_is_alone(norm: Norm) -> None:
    z, w, rise, _ = task(7, 33, share=0.6)
    rise[2] *= 40
    whole = project_onto_hyperplane(norm, z, w, rise, 0, 1)
    alone = torch.cat(
        [project_onto_hyperplane(norm, *(part[i : i + 1] for part in (z, w, rise)), 0, 1) for i in range(7)]
    )
    assert torch.equal(whole, alone)


@pytest.mark.parametrize(("norm", "dual", "expected"), [("linf", 1, 0.60), ("l2", 2, 0.78)])
def test_the_textbook_distance_forgets_the_box(norm: Norm, dual: int, expected: float) -> None:
    z, w, rise, _ = task(200, 784, share=0.4)
    textbook = rise / torch.linalg.vector_norm(w, dual, dim=1)
    ratio = (textbook / size(project_onto_hyperplane(norm, z, w, rise, 0, 1), norm)).median()
    assert float(ratio) == pytest.approx(expected, abs=0.2)
    assert ratio < 0.9


def test_the_level_of_ramps_is_exact_where_it_is_known() -> None:
    slope = torch.tensor([[1.0, 2.0, 4.0]], dtype=torch.float64)
    full = torch.tensor([[1.0, 1.0, 1.0]], dtype=torch.float64)
    asked = [0.0, 0.7, 1.75, 2.0, 2.5, 3.0]
    expected = [0.0, 0.1, 0.25, 1 / 3, 0.5, 1.0]
    found = [
        float(solve_capped_sum(slope, full, full / slope, torch.tensor([[need]], dtype=torch.float64)))
        for need in asked
    ]
    assert found == pytest.approx(expected)
    assert (
        float(solve_capped_sum(slope, full, full / slope, torch.tensor([[3.1]], dtype=torch.float64)))
        == torch.finfo(torch.float64).max
    )
