from itertools import product

import pytest
import torch

from quintain.attacks import PGD
from quintain.attacks.gradient.pgd import coordinates_per_step
from quintain.testing import check_optimality_gap
from quintain.threats import L1


@pytest.mark.parametrize(("eps", "seed"), [*product((0.3, 1.0, 2.0, 3.0, 6.0), range(3)), (9.0, 0)])
def test_it_ends_near_the_optimum_of_a_linear_model_whatever_is_drawn(eps: float, seed: int) -> None:
    """Of three models, inputs and starts; a ball of 9 is tried on one, since it breaks all inputs of
    others.
    """
    check_optimality_gap(PGD(), L1(eps), seed=seed)


@pytest.mark.parametrize(("steps", "coordinates"), [(1, 784), (2, 784), (40, 784), (41, 3), (7, 1)])
def test_steps_move_fewer_and_fewer_coordinates_and_then_all(steps: int, coordinates: int) -> None:
    moved = coordinates_per_step(steps, coordinates)
    sparse = [count for count in moved if count]
    assert len(moved) == steps
    assert sparse == sorted(sparse, reverse=True)
    assert sparse[0] == max(1, round(0.2 * coordinates))
    assert not any(moved[len(sparse) :])
    assert len(sparse) < 2 or sparse[-1] == 1


def test_float32_points_are_inside_exactly() -> None:
    x = torch.rand(8, 1, 7, 7, generator=torch.Generator().manual_seed(1))
    threat = L1(2.0)
    outcome = PGD()(
        lambda z: torch.stack([9 + 0 * z.flatten(1).sum(1), z.flatten(1)[:, :20].sum(1) / 20], 1),
        x,
        torch.zeros(8).long(),
        threat,
    )
    assert (threat.measure(outcome.adversarial, x) <= 2.0).all()
    assert (threat.measure(outcome.adversarial, x) > 1.9).all()
