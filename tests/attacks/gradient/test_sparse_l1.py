import pytest
import torch

from quintain.attacks import SparseL1Descent
from quintain.attacks.gradient.sparse_l1 import sparse_ascent_step
from quintain.core.errors import SettingError
from quintain.threats import L1
from tests.attacks.gradient.watched import scene


def test_a_step_moves_the_steepest_coordinates_by_equal_amounts() -> None:
    x = torch.full((2, 6), 0.5, dtype=torch.float64)
    gradient = torch.tensor([[5.0, -4.0, 3.0, 1.0, 0.0, 2.0], [0.0] * 6], dtype=torch.float64)
    moved = sparse_ascent_step(L1(1.0), 0.3, 3, x, gradient, x, ()) - x
    assert torch.allclose(moved[0], torch.tensor([0.1, -0.1, 0.1, 0.0, 0.0, 0.0], dtype=torch.float64))
    assert (moved[1] == 0).all()


def test_coordinates_at_a_wall_leave_their_place_to_others() -> None:
    x = torch.tensor([[1.0, 0.0, 0.5, 0.5]], dtype=torch.float64)
    moved = (
        sparse_ascent_step(
            L1(1.0), 0.2, 2, x, torch.tensor([[9.0, -8.0, 2.0, -1.0]], dtype=torch.float64), x, ()
        )
        - x
    )
    assert torch.allclose(moved, torch.tensor([[0.0, 0.0, 0.1, -0.1]], dtype=torch.float64))


def test_it_starts_at_the_clean_point_and_stays_inside() -> None:
    model, x, y = scene(1, 6, 6)
    SparseL1Descent(steps=9, rel_step_size=0.5, fraction=0.1)(model, x, y, L1(1.5))
    assert torch.equal(model.asked[1], x)
    assert all((L1(1.5).measure(point, x) <= 1.5).all() for point in model.asked)
    assert (model.asked[2] != x).flatten(1).sum(1).tolist() == [4] * 5


def test_it_climbs() -> None:
    model, x, y = scene(1, 6, 6)
    found = SparseL1Descent()(model, x, y, L1(1.5)).adversarial
    lead = lambda z: model.net(z)[:, 1:].amax(1) - model.net(z)[:, 0]  # noqa: E731
    assert (lead(found) > lead(x)).all()


def test_a_share_of_nothing_is_refused() -> None:
    with pytest.raises(SettingError, match=r"fraction = 0; expected"):
        SparseL1Descent(fraction=0)
