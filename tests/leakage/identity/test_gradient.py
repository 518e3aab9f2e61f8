import pytest
import torch

from quintain.core.errors import SettingError
from quintain.leakage import Knowledge, ModelView
from quintain.leakage.identity.gradient import InversionGradient
from tests.leakage.identity.people import classes, faces, pictures, template_model

PUBLIC = pictures(range(100, 130), 3)


def test_in_pixels_the_ascent_of_a_linear_model_goes_to_the_corner_of_the_box():
    model = template_model(range(3))
    weight = model.net[1].weight.detach()
    guess = InversionGradient(space="pixels", steps=400).guess(
        ModelView(model), Knowledge(public=PUBLIC), classes(0), budget=1000, seed=0
    )
    # A linear lead is largest where each pixel is 0 or 1 by the sign of its weight; the best other class
    # changes on the way, so that only pixels on which both agree are sure.
    signs = torch.stack([weight[0] - weight[1], weight[0] - weight[2]])
    sure = (signs > 0.05).all(0) | (signs < -0.05).all(0)
    assert sure.any()
    assert torch.equal(guess.images[0].flatten()[sure], (signs[0][sure] > 0).float())


def test_total_variation_smooths_and_a_larger_penalty_stays_nearer_to_the_mean():
    model, knowledge = template_model(range(4)), Knowledge(public=PUBLIC)

    def made(**settings):
        attack = InversionGradient(steps=60, **settings)
        return attack.guess(ModelView(model), knowledge, classes(2), budget=500, seed=0).images

    def roughness(x):
        return float((x[..., 1:] - x[..., :-1]).abs().mean())

    assert roughness(made(space="pixels", tv_weight=20.0)) < 0.5 * roughness(made(space="pixels"))
    mean = torch.from_numpy(faces(range(100, 130))).float().mean(0)
    near, far = (float((made(penalty=weight) - mean).square().mean()) for weight in (10.0, 0.1))
    assert near < far


def test_settings_out_of_range_and_other_views_are_refused():
    with pytest.raises(SettingError, match="steps = 0; expected at least 1"):
        InversionGradient(steps=0)
    with pytest.raises(SettingError, match="penalty = -1"):
        InversionGradient(penalty=-1)
    with pytest.raises(SettingError, match="space = 'faces'; expected 'prior' or 'pixels'"):
        InversionGradient(space="faces")
    view = ModelView(template_model(range(3)))
    with pytest.raises(SettingError, match="needs public, which is not given"):
        InversionGradient().guess(view, Knowledge(), classes(0), budget=9, seed=0)
    with pytest.raises(SettingError, match=r"seeks classes \[3\]; expected some of 0 .. 2"):
        InversionGradient().guess(view, Knowledge(public=PUBLIC), classes(3), budget=9, seed=0)
