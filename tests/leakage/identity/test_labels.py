import math

import pytest
import torch

from quintain.core.errors import SettingError
from quintain.leakage import Knowledge, ModelView
from quintain.leakage.identity.labels import InversionLabels, _Region
from quintain.leakage.identity.prior import PicturePrior
from tests.leakage.identity.people import classes, pictures, template_model

PUBLIC = pictures(range(100, 130), 3)


class Inside:
    """A model of vectors in [0, 1]: label 1 in a ball around a point, else 0."""

    access, num_classes, device, dtype, name = "labels", 2, torch.device("cpu"), torch.float32, "ball"

    def __init__(self, center, radius):
        self.center, self.radius = center, radius

    def predict(self, x):
        return ((x - self.center).norm(dim=1) < self.radius).long()


def test_the_center_of_a_ball_is_found_from_near_its_boundary():
    # Coordinates w are pixels less one half, in tenths.
    prior = PicturePrior(torch.full((6,), 0.5).double(), 0.1 * torch.eye(6).double(), (6,))
    view = ModelView(Inside(torch.full((6,), 0.55), 0.15))
    region = _Region(InversionLabels(points=64), view, prior, 1, seed=0)
    start = torch.tensor([-0.8, 0.0, 0.0, 0.5, 0.5, 0.5]).double()
    center = torch.full((6,), 0.5).double()
    found = region.center(start, 4000, lambda _done: None)
    assert float((start - center).norm()) > 1.3
    assert float((found - center).norm()) < 0.6
    assert view.queries <= 4000


def test_from_outside_the_class_is_reached_where_a_sphere_meets_it():
    prior = PicturePrior(torch.full((2,), 0.5).double(), 0.1 * torch.eye(2).double(), (2,))
    view = ModelView(Inside(torch.tensor([0.6, 0.5]), 0.07))
    region = _Region(InversionLabels(), view, prior, 1, seed=0)
    start = torch.tensor([-1.0, 0.0]).double()
    assert not region.contains(start[None]).item()
    assert region.contains(region.center(start, 2000, lambda _done: None)[None]).item()


def test_a_made_face_has_the_label_of_its_class():
    model = template_model(range(4))
    view = ModelView(model, access="labels")
    guess = InversionLabels().guess(view, Knowledge(public=PUBLIC), classes(0, 1, 2, 3), budget=800, seed=0)
    assert (model.predict(guess.images) == torch.arange(4)).sum() >= 3


def test_settings_out_of_range_are_refused():
    for settings in ({"points": 7}, {"radius": 0.0}, {"growth": 1.0}):
        with pytest.raises(SettingError, match="expected an even number, a positive one, and one above 1"):
            InversionLabels(**settings)
    with pytest.raises(SettingError, match="expected fractions"):
        InversionLabels(pool=1.0)
    assert math.isfinite(InversionLabels().radius)
