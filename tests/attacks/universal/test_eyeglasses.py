import pytest
import torch

from quintain.attacks.perturbation import success_rate
from quintain.attacks.universal.eyeglasses import Eyeglasses
from quintain.attacks.universal.printing import palette, simulate_print, total_variation
from quintain.core.errors import SettingError, UnknownNameError
from quintain.threats.shapes import shape_mask
from tests.attacks.universal.physical_scenes import FIXED_VIEW, by_color, by_half, colors, halves

QUICK = {"steps": 30, "batch_size": 6, "learning_rate": 0.1}


@pytest.mark.parametrize("target", [None, 1])
def test_a_wearer_hides_or_becomes_another_and_a_random_frame_does_neither(target: int | None) -> None:
    model, data = by_color(), colors(60, 40, 0.03)
    wearer = data.subset(range(0, 60, 3))
    fitted = Eyeglasses(target, **QUICK, nps_weight=0.0, tv_weight=0.0).fit(model, wearer.subset(range(10)))
    assert success_rate(model, wearer.subset(range(10, 20)), fitted, target=target).rate == 1
    assert success_rate(model, wearer.subset(range(10, 20)), fitted.random_control(), target=target).rate == 0


def test_only_the_frame_changes() -> None:
    data = colors(6, 40)
    fitted = Eyeglasses(1, **QUICK, view=FIXED_VIEW).fit(by_color(), data)
    x, _ = data.batch(torch.arange(6))
    off = ~shape_mask("eyeglasses", 40, 40)
    assert torch.equal(fitted.apply(x)[..., off], x[..., off])
    assert 0.04 < float((~off).float().mean()) < 0.09


def test_it_starts_from_the_one_printable_color_that_does_best() -> None:
    attack, data, grays = Eyeglasses(1, **QUICK), halves(8, 40), palette(1)
    fitted = Eyeglasses(1, steps=1, batch_size=2, learning_rate=1e-9).fit(by_color(), colors(9, 40))
    first = fitted.pattern[:, 0, 0]
    assert torch.allclose(first, simulate_print(torch.tensor([0.0, 1.0, 0.0]).view(3, 1, 1)).flatten())
    assert torch.allclose(fitted.pattern, first.view(3, 1, 1).expand_as(fitted.pattern), atol=1e-6)
    start = attack.best_color(
        by_half(), data, Eyeglasses(1, steps=1, batch_size=1).fit(by_half(), data), grays, 0
    )
    assert start.unique().numel() == 1


def test_smooth_frames_cost_less_variation() -> None:
    rough, smooth = (
        Eyeglasses(1, **QUICK, tv_weight=weight).fit(by_half(), halves(12, 40)) for weight in (0.0, 20.0)
    )
    assert total_variation(smooth.pattern) < total_variation(rough.pattern)


def test_bad_settings_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="eyeglasses"):
        Eyeglasses(1, shape="eyeglases")
    for wrong in ({"nps_weight": -1.0}, {"tv_weight": -1.0}, {"steps": 0}):
        with pytest.raises(SettingError, match=next(iter(wrong))):
            Eyeglasses(1, **wrong)
