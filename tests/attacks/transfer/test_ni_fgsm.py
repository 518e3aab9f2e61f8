import torch

from quintain.attacks import NIFGSM
from quintain.threats import Linf
from tests.attacks.gradient.watched import scene


def test_gradients_are_those_where_the_momentum_leads() -> None:
    model, x, y = scene(1, 3, 3)
    NIFGSM(steps=7, rel_step_size=0.1, decay=0.8)(model, x, y, Linf(0.2))
    _, *asked, last = model.asked
    z, momentum = x, torch.zeros_like(x)

    def inside(point: torch.Tensor) -> torch.Tensor:
        return torch.minimum(torch.maximum(point, x - 0.2), x + 0.2).clamp(0, 1)

    for point in asked:
        assert torch.allclose(point, inside(z + 0.02 * 0.8 * momentum))
        slope = model.slope(point)
        momentum = 0.8 * momentum + slope / slope.flatten(1).abs().mean(1).view(-1, 1, 1, 1)
        z = inside(z + 0.02 * momentum.sign())
    assert torch.allclose(last, z)


def test_every_question_is_about_an_allowed_point() -> None:
    model, x, y = scene(1, 3, 3)
    NIFGSM(steps=12, rel_step_size=0.9)(model, x, y, Linf(0.05))
    assert all((Linf(0.05).measure(point, x) <= 0.05).all() for point in model.asked)
