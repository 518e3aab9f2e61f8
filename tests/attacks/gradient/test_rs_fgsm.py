import pytest
import torch

from quintain.attacks import RSFGSM
from quintain.core.errors import SettingError
from quintain.threats import Linf
from tests.attacks.gradient.watched import scene

THREAT = Linf(0.1)


def test_a_signed_step_from_a_random_point_is_projected() -> None:
    model, x, y = scene(3, 3)
    RSFGSM()(model, x, y, THREAT)
    _, start, end = model.asked
    assert ((start - x).abs() <= 0.1).all()
    assert (start != x).any(1).any(1).all()
    stepped = start + 0.125 * model.slope(start).sign()
    assert torch.allclose(end, torch.minimum(torch.maximum(stepped, x - 0.1), x + 0.1).clamp(0, 1))


def test_no_point_leaves_the_ball_however_long_the_step() -> None:
    model, x, y = scene(3, 3)
    RSFGSM(rel_step_size=7.0)(model, x, y, THREAT)
    for asked in model.asked:
        assert (THREAT.measure(asked, x) <= 0.1).all()


def test_the_start_belongs_to_the_example_and_the_seed() -> None:
    model, x, y = scene(3, 3)
    for seed in (0, 1, 0):
        RSFGSM()(model, x, y, THREAT, seed=seed)
    first, second, third = model.asked[1::3]
    assert torch.equal(first, third)
    assert not torch.equal(first, second)


def test_a_step_of_no_length_is_refused() -> None:
    with pytest.raises(SettingError, match=r"rel_step_size = 0; expected a positive fraction"):
        RSFGSM(rel_step_size=0)
