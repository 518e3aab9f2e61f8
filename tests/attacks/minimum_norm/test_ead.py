"""EAD: which coordinates move, and what beta trades."""

import pytest
import torch

from quintain.attacks import EAD, CarliniWagner
from quintain.core.errors import SettingError
from quintain.testing import linear_task, smallest_linear_change
from quintain.threats import L1, L2

BALL = L1(60.0)


def test_coordinates_that_gain_little_are_exactly_clean() -> None:
    linear, x, _, _ = linear_task(BALL)
    y = torch.zeros(24, dtype=torch.long)
    sparse, dense = (
        EAD()(linear, x, y, BALL),
        CarliniWagner(binary_search_steps=5, steps=50)(linear, x, y, L2(8.0)),
    )
    broken = sparse.success & (sparse.size > 0)
    moved = [
        (outcome.adversarial != x).flatten(1).sum(1)[broken].double().mean() for outcome in (sparse, dense)
    ]
    assert moved[0] < 0.7 * moved[1]
    assert (sparse.size < BALL.measure(dense.adversarial, x))[broken].all()


def test_beta_trades_few_coordinates_for_small_ones_as_it_is_said_to() -> None:
    linear, x, w, need = linear_task(BALL)
    least = smallest_linear_change(BALL, w, need, x)
    breakable = (least > 0) & least.isfinite()
    ratios = []
    for beta in (0.01, 1.0, 30.0):
        outcome = EAD(beta=beta)(linear, x, torch.zeros(24, dtype=torch.long), BALL)
        ratios.append(float((outcome.size / least)[breakable].median()))
    assert ratios[0] == pytest.approx(1.25, abs=0.05)
    assert ratios[1] == pytest.approx(1.05, abs=0.02)
    assert ratios[2] == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(
    ("setting", "value"), [("binary_search_steps", 0), ("steps", 1), ("learning_rate", 0.0), ("beta", 0.0)]
)
def test_settings_out_of_range_are_refused(setting: str, value: float) -> None:
    with pytest.raises(SettingError, match=f"{setting} = .*; expected"):
        EAD(**{setting: value})
