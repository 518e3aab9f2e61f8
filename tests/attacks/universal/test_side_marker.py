import pytest
import torch

import quintain as q
from quintain.attacks.perturbation import success_rate
from quintain.attacks.universal.adversarial_patch import BRIGHT, side_marker
from quintain.models.nets import xray_cnn


@pytest.fixture(scope="module")
def trained():
    data = q.load_data("xrays")
    net = xray_cnn()
    q.training.fit(net, data.split("train"), q.training.Recipe(4))
    return q.Classifier(net.eval(), num_classes=2), data


def test_a_marker_turns_x_rays_that_it_was_not_fitted_on_more_often_than_a_random_one(trained) -> None:
    model, data = trained
    fitted = side_marker().fit(model, data.split("train"))
    marked, random = (
        success_rate(model, data.split("test"), one, target=0) for one in (fitted, fitted.random_control())
    )
    assert marked.interval()[0] > random.interval()[1]
    assert fitted.pattern.min() >= BRIGHT


def test_a_marker_is_small_and_near_the_corner() -> None:
    blank = side_marker().blank(1, 28, 28)
    seen = blank.with_pattern(torch.ones_like(blank.pattern)).apply(torch.zeros(50, 1, 28, 28))
    assert seen.mean((1, 2, 3)).max() <= 0.065
    assert seen[:, :, 14:].max() == 0
    assert seen[:, :, :, :14].max() == 0
