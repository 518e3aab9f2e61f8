import pytest
import torch

from quintain.attacks import BIM, MIFGSM
from quintain.core.errors import SettingError
from quintain.threats import L2, Linf
from tests.attacks.gradient.watched import scene


def test_it_is_the_published_recursion() -> None:
    model, x, y = scene(1, 3, 3)
    MIFGSM(steps=8, rel_step_size=0.125, decay=0.9)(model, x, y, Linf(0.2))
    z, momentum = x, torch.zeros_like(x)
    for point in model.asked[1:]:
        assert torch.allclose(point, z)
        slope = model.slope(point)
        momentum = 0.9 * momentum + slope / slope.flatten(1).abs().sum(1).view(-1, 1, 1, 1)
        z = torch.minimum(torch.maximum(point + 0.025 * momentum.sign(), x - 0.2), x + 0.2).clamp(0, 1)


def test_the_momentum_is_no_side_effect() -> None:
    model, x, y = scene(3, 3)
    runs = [
        attack(model, x, y, L2(0.5)).adversarial
        for attack in (MIFGSM(), BIM(rel_step_size=0.1), MIFGSM(decay=0.0), MIFGSM())
    ]
    assert torch.equal(runs[1], runs[2])
    assert not torch.equal(runs[0], runs[1])
    assert torch.equal(runs[0], runs[3])


def test_an_example_without_a_slope_leaves_the_others_alone() -> None:
    model, x, y = scene(3, 3)
    flat = lambda z: torch.where(  # noqa: E731
        torch.arange(len(z))[:, None] == 2, 0 * model.net(z) + torch.tensor([9.0, 0, 0]), model.net(z)
    )
    outcome, plain = MIFGSM()(flat, x, y, Linf(0.1)), MIFGSM()(model, x, y, Linf(0.1))
    others = torch.tensor([0, 1, 3, 4])
    assert torch.equal(outcome.adversarial[2], x[2])
    assert torch.equal(outcome.adversarial[others], plain.adversarial[others])


def test_a_decay_above_one_is_refused() -> None:
    with pytest.raises(SettingError, match=r"decay = 2; expected"):
        MIFGSM(decay=2)
