import pytest
import torch

from quintain.attacks import SimBA
from quintain.core.errors import SettingError
from quintain.testing import random_inputs
from quintain.threats import L2, Linf
from tests.attacks.score_based.recording import Recorder, zeros


def test_every_coordinate_is_tried_once_a_lap_each_example_in_its_own_order() -> None:
    model, x = Recorder(), torch.full((2, 1, 3, 3), 0.5)
    SimBA(queries=18)(model, x, zeros(2), Linf(0.25))
    moved = (torch.stack(model.asked[1:]) - x).flatten(2)
    assert moved.shape == (18, 2, 9)
    assert ((moved != 0).sum(2) == 1).all()
    assert torch.equal(moved.sum(0), torch.zeros(2, 9))
    assert ((moved != 0).sum(0) == 2).all()
    assert not torch.equal(moved[:, 0], moved[:, 1])


def test_one_lap_solves_a_linear_model_in_the_ball_of_the_largest_change() -> None:
    x, w = (
        random_inputs(6, 8),
        torch.randn(8, generator=torch.Generator().manual_seed(0), dtype=torch.float64),
    )
    outcome = SimBA(queries=16)(lambda z: torch.stack((z @ w * 0 + 99, z @ w), 1), x, zeros(6), Linf(0.1))
    assert torch.equal(outcome.adversarial, torch.where(w > 0, *reversed(Linf(0.1).bounds(x))))
    assert (outcome.forwards <= 17).all()


@pytest.mark.parametrize("threat", [Linf(0.2), L2(0.5)])
def test_no_example_is_asked_more_than_its_share(threat: Linf | L2) -> None:
    x = random_inputs(12, 1, 4, 4)
    outcome = SimBA(queries=25)(
        lambda z: torch.stack((z.flatten(1).sum(1) * 0 + 99, -z.flatten(1).square().sum(1)), 1),
        x,
        zeros(12),
        threat,
    )
    assert outcome.forwards.tolist() == [26] * 12


def test_settings_of_simba_out_of_range_are_refused() -> None:
    for settings in ({"queries": 0}, {"rel_step_size": 0.0}, {"rel_step_size": float("nan")}):
        with pytest.raises(SettingError, match="expected"):
            SimBA(**settings)
