import pytest
import torch

from quintain.attacks import FGM, FGSM
from quintain.core.errors import SettingError
from quintain.testing import best_linear_gain, linear_task
from quintain.threats import L1, L2, Linf
from tests.attacks.gradient.watched import scene


@pytest.mark.parametrize(
    "threat", [L2(0.05), L2(1.0), L2(4.0), L1(0.1), L1(2.0), L1(15.0)], ids=lambda threat: threat.spec
)
def test_one_step_is_the_optimum_of_a_linear_model_in_ball_and_box(threat: L1 | L2) -> None:
    linear, x, w, _ = linear_task(threat)
    outcome = FGM()(
        lambda z: linear(z) - torch.tensor([0.0, 1e4]), x, torch.zeros(len(x), dtype=torch.long), threat
    )
    gain = (outcome.adversarial - x).flatten(1) @ w
    assert torch.allclose(gain, best_linear_gain(threat, w, x), rtol=1e-3)


def test_away_from_the_walls_it_is_the_published_step() -> None:
    model, x, y = scene(3, 3)
    x = 0.3 + 0.4 * x
    slope = model.slope(x)
    along = FGM()(model, x, y, L2(0.1)).adversarial - x
    assert torch.allclose(along, 0.1 * slope / slope.flatten(1).norm(dim=1).view(-1, 1, 1), atol=1e-9)
    single = FGM()(model, x, y, L1(0.1)).adversarial - x
    assert ((single != 0).flatten(1).sum(1) == 1).all()
    assert torch.equal(single.flatten(1).abs().argmax(1), slope.flatten(1).abs().argmax(1))


def test_it_asks_for_one_gradient() -> None:
    outcome = FGM()(*scene(4), L2(0.2))
    assert outcome.backwards.tolist() == [1] * 5
    assert outcome.forwards.tolist() == [3] * 5


def test_signs_and_lengths_are_two_attacks() -> None:
    assert not set(FGM.supports) & set(FGSM.supports)
    with pytest.raises(SettingError, match="fgm does not support the threat linf"):
        FGM()(*scene(4), Linf(0.1))
    with pytest.raises(SettingError, match=r"fgsm does not support the threat l2.*fgm"):
        FGSM()(*scene(4), L2(0.1))
