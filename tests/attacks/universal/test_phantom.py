from dataclasses import replace

import pytest
import torch

from quintain.attacks.perturbation import success_rate
from quintain.attacks.universal.fitted_patch import cut_alpha, pad_to_center
from quintain.attacks.universal.phantom import FittedLight, Phantom, from_a_projector
from quintain.core.errors import DataError, SettingError
from quintain.threats.light import ProjectedLight
from tests.attacks.universal.physical_scenes import by_color, by_half, colors, halves

SCENES = torch.rand(12, 3, 20, 26, generator=torch.Generator().manual_seed(0))
BEAM = pad_to_center(cut_alpha("disc", 12), 20, 26)
FORMS = [ProjectedLight(0.5), ProjectedLight(0.5, "albedo")]


def light(projection: ProjectedLight, value: float = 1.0) -> FittedLight:
    return FittedLight(torch.full((3, 20, 26), value), BEAM, projection, from_a_projector(), 0.7)


@pytest.mark.parametrize("projection", FORMS, ids=lambda projection: projection.form)
def test_light_is_only_added_and_only_in_its_beam(projection: ProjectedLight) -> None:
    lit = light(projection).apply(SCENES)
    assert (lit >= SCENES).all()
    assert (lit <= 1).all()
    far = pad_to_center(torch.ones(1, 16, 16), 20, 26)[0] == 0
    assert torch.equal(lit[..., far], SCENES[..., far])
    assert (lit > SCENES)[..., 10, 13].all()


@pytest.mark.parametrize("projection", FORMS, ids=lambda projection: projection.form)
def test_no_light_changes_nothing_bit_for_bit(projection: ProjectedLight) -> None:
    assert torch.equal(light(projection, 0.0).apply(SCENES), SCENES)
    assert torch.equal(light(replace(projection, gain=0.0)).apply(SCENES), SCENES)


@pytest.mark.parametrize("projection", FORMS, ids=lambda projection: projection.form)
def test_more_light_is_brighter_and_saturates(projection: ProjectedLight) -> None:
    weak, strong = (light(replace(projection, gain=gain)).apply(SCENES) for gain in (0.2, 1.0))
    assert (strong >= weak).all()
    assert (strong > weak).any()
    assert strong.max() == 1


def test_black_does_not_light_up_by_albedo() -> None:
    black = torch.zeros_like(SCENES)
    assert torch.equal(light(FORMS[1]).apply(black), black)
    assert light(FORMS[0]).apply(black).max() > 0.3


def test_daylight_leaves_its_share() -> None:
    black = torch.zeros(200, 3, 20, 26)
    peaks = light(FORMS[0]).apply(black).amax((1, 2, 3))
    assert 0.35 - 1e-4 <= float(peaks.min()) < 0.37
    assert 0.48 < float(peaks.max()) <= 0.5 + 1e-6


def test_the_controls_have_the_same_beam_and_energy() -> None:
    pattern = torch.rand(3, 20, 26, generator=torch.Generator().manual_seed(1)) ** 3
    fitted = light(FORMS[0]).with_pattern(pattern)
    for control in (fitted.random_control(2), fitted.gray_control()):
        assert control.energy == pytest.approx(fitted.energy, rel=1e-3)
        assert torch.equal(control.beam, fitted.beam)
    assert torch.equal(fitted.random_control(2).pattern, fitted.random_control(2).pattern)


def test_an_aim_belongs_to_its_example() -> None:
    ids, order = torch.arange(12), torch.tensor([7, 2])
    together = light(FORMS[0]).apply(SCENES, ids, seed=1)
    torch.testing.assert_close(
        light(FORMS[0]).apply(SCENES[order], ids[order], seed=1), together[order], rtol=0, atol=1e-6
    )


def test_the_light_that_turns_a_sign_is_found() -> None:
    model, data = by_color(), colors(60)
    fitted = Phantom(2, ProjectedLight(0.5), steps=40, batch_size=8, learning_rate=0.1).fit(
        model, data.subset(range(30))
    )
    others = data.subset(range(30, 60))
    assert success_rate(model, others, fitted, target=2).rate == 1
    assert success_rate(model, others, fitted.gray_control(), target=2).rate == 0
    lit = fitted.pattern[:, BEAM.shape[1] // 2, 12]
    assert lit.tolist() == pytest.approx([0, 0, 1], abs=0.05)


def test_light_has_its_price() -> None:
    free, dear = (
        Phantom(1, steps=30, batch_size=8, learning_rate=0.1, energy_weight=weight).fit(by_half(), halves())
        for weight in (0.0, 100.0)
    )
    assert dear.energy < free.energy / 2


def test_bad_settings_are_refused() -> None:
    for wrong in ({"beam_diameter": 0.0}, {"min_strength": 1.5}, {"energy_weight": -1.0}, {"steps": 0}):
        with pytest.raises(SettingError, match=next(iter(wrong))):
            Phantom(1, **wrong)
    with pytest.raises(DataError, match="beam"):
        FittedLight(torch.zeros(3, 4, 4), torch.zeros(1, 5, 5), FORMS[0], from_a_projector(), 0.7)
    with pytest.raises(DataError, match="expected \\(B, 3, H, W\\)"):
        light(FORMS[0]).apply(torch.zeros(2, 1, 20, 26))
