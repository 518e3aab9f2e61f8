from itertools import pairwise

import pytest
import torch

from quintain.core.errors import SettingError
from quintain.testing import random_inputs
from quintain.threats import ProjectedLight, parse

X = random_inputs(5, 3, 6, 4, dtype=torch.float32)
LIGHT = (2 * torch.rand(X.shape, generator=torch.Generator().manual_seed(1)) - 1).clamp(min=0)
FORMS = [ProjectedLight(0.3), ProjectedLight(0.3, "albedo"), ProjectedLight(5.0, "albedo")]


@pytest.mark.parametrize("threat", FORMS)
def test_no_pixel_gets_darker_and_unlit_ones_stay(threat: ProjectedLight) -> None:
    lit = threat.render(X, LIGHT.flatten(1))
    assert (lit >= X).all()
    assert (lit <= 1).all()
    assert torch.equal(lit[LIGHT == 0], X[LIGHT == 0])


@pytest.mark.parametrize("form", ["additive", "albedo"])
def test_more_gain_is_never_darker(form) -> None:
    images = [ProjectedLight(gain, form).render(X, LIGHT.flatten(1)) for gain in (0.0, 0.1, 0.3, 0.7, 1.0)]
    assert torch.equal(images[0], X)
    assert all((more >= less).all() for less, more in pairwise(images))


def test_full_light_saturates() -> None:
    assert (ProjectedLight(1.0).render(X, torch.ones(5, 72)) == 1).all()


def test_the_two_forms() -> None:
    x = torch.tensor([0.0, 0.25, 0.5, 1.0]).view(1, 1, 2, 2)
    full = torch.ones(1, 4)
    assert torch.allclose(ProjectedLight(0.5).render(x, full).flatten(), torch.tensor([0.5, 0.75, 1.0, 1.0]))
    assert torch.allclose(
        ProjectedLight(0.5, "albedo").render(x, full).flatten(), torch.tensor([0.0, 0.375, 0.75, 1.0])
    )


def test_black_does_not_light_up_in_any_box() -> None:
    x = torch.tensor([-1.0, 0.0]).view(1, 1, 1, 2)
    assert torch.equal(
        ProjectedLight(0.5, "albedo", -1, 1).render(x, torch.ones(1, 2)).flatten(), torch.tensor([-1.0, 0.5])
    )


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("light:2", "from 0 to 1 in the units of the data"),
        ("light:-1", "from 0 to 1"),
        ("light:0.3,form=bright", "expected additive or albedo"),
        ("light:form=albedo", "has no gain"),
        ("light:0.3,gain=0.2", "given twice"),
        ("light:", "has no size"),
    ],
)
def test_wrong_tokens_are_refused(token: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        parse(token)


def test_tokens_are_written() -> None:
    assert ProjectedLight(0.3).spec == "light:0.3"
    assert ProjectedLight(2, "albedo").spec == "light:2,form=albedo"
    assert parse("light:gain=0.3") == ProjectedLight(0.3)
