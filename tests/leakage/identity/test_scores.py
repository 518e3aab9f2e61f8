import numpy as np
import pytest
import torch

from quintain.core.errors import SettingError
from quintain.leakage import Knowledge, ModelView
from quintain.leakage.identity.gradient import InversionGradient
from quintain.leakage.identity.scores import InversionScores
from quintain.leakage.identity.start import lead
from tests.leakage.identity.people import classes, pictures, template_model

PUBLIC = pictures(range(100, 130), 3)


def test_more_queries_come_nearer_to_what_gradients_reach():
    model, knowledge = template_model(range(4)), Knowledge(public=PUBLIC)

    def reached(attack, budget):
        made = attack.guess(ModelView(model), knowledge, classes(2), budget=budget, seed=0).images
        return float(lead(model(made).detach(), 2)[0])

    by_gradient = reached(InversionGradient(penalty=0.3), 1000)
    few, many = (reached(InversionScores(penalty=0.3), budget) for budget in (150, 2500))
    assert few < many
    assert many > 0.8 * by_gradient


def test_log_probabilities_serve_as_logits_do():
    model, knowledge = template_model(range(4), sharpness=2.0), Knowledge(public=PUBLIC)

    class Probabilities:
        access, num_classes, device, dtype, name = "scores", 4, model.device, model.dtype, "log p"

        def __call__(self, x):
            return torch.log_softmax(model(x), dim=1)

    made = [
        InversionScores().guess(ModelView(one), knowledge, classes(1), budget=400, seed=0).images
        for one in (model, Probabilities())
    ]
    # The two differ by rounding, which may change the order of nearly equal samples.
    assert torch.allclose(*made, atol=0.05)


def test_the_global_generator_of_numpy_is_left_alone_and_nothing_is_printed(capsys):
    state = np.random.get_state()[1].copy()
    view = ModelView(template_model(range(3)))
    InversionScores().guess(view, Knowledge(public=PUBLIC), classes(0), budget=300, seed=0)
    assert (np.random.get_state()[1] == state).all()
    assert capsys.readouterr() == ("", "")


def test_a_model_that_says_nothing_gives_a_picture_all_the_same(capsys):
    class Constant:
        access, num_classes, device, dtype, name = "scores", 3, torch.device("cpu"), torch.float32, "constant"

        def __call__(self, x):
            return torch.full((len(x), 3), float("nan"))

    made = InversionScores().guess(
        ModelView(Constant()), Knowledge(public=PUBLIC), classes(0), budget=400, seed=0
    )
    assert made.images.isfinite().all()
    assert capsys.readouterr() == ("", "")


def test_settings_out_of_range_are_refused():
    with pytest.raises(SettingError, match="population = 3; expected at least 4"):
        InversionScores(population=3)
    with pytest.raises(SettingError, match="sigma = 0"):
        InversionScores(sigma=0)
