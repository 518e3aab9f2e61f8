"""Gradient attacks on parameters, held against closed forms on a linear model."""

import pytest
import torch
from torch import Tensor

from quintain.attacks import FGSM, PGD
from quintain.testing import random_inputs
from quintain.threats import Color, Compose, Patch, ProjectedLight, Spatial

X = random_inputs(8, 1, 6, 6, seed=3)
Y = torch.zeros(8, dtype=torch.long)
W = torch.randn(36, generator=torch.Generator().manual_seed(0), dtype=X.dtype)


def linear(z: Tensor) -> Tensor:
    score = z.flatten(1) @ W
    return torch.stack((torch.zeros_like(score), score - 100), 1)


def gain(image: Tensor) -> Tensor:
    return (image - X).flatten(1) @ W


@pytest.mark.parametrize("attack", [PGD(), FGSM()])
def test_light_is_thrown_where_it_pays(attack) -> None:
    found = gain(attack(linear, X, Y, ProjectedLight(0.3)).adversarial)
    best = (W.clamp(min=0) * (1 - X.flatten(1)).clamp(max=0.3)).sum(1)
    assert torch.allclose(found, best, rtol=1e-3)


def test_light_that_is_too_strong_can_be_turned_down() -> None:
    bright, against = X * 0.1 + 0.85, -W.abs()
    outcome = PGD()(
        lambda z: torch.stack((0 * z.flatten(1) @ W, z.flatten(1) @ against - 100), 1),
        bright,
        Y,
        ProjectedLight(0.9),
    )
    assert torch.allclose(outcome.adversarial, bright, atol=1e-9)


def test_light_by_albedo_is_thrown_where_it_pays() -> None:
    found = gain(PGD()(linear, X, Y, ProjectedLight(0.3, "albedo")).adversarial)
    best = (W.clamp(min=0) * torch.minimum(1 - X, 0.3 * X).flatten(1)).sum(1)
    assert torch.allclose(found, best, rtol=1e-3)


def test_the_best_colors_of_a_sticker_are_found() -> None:
    outcome = PGD()(linear, X, Y, Patch(0.25, (0.5, 0.5)))
    under = torch.zeros(6, 6, dtype=torch.bool)
    under[2:5, 2:5] = True
    best = torch.where(under.flatten(), (W > 0).to(X.dtype) - X.flatten(1), 0) @ W
    clean = torch.zeros_like(best)
    assert torch.allclose(gain(outcome.adversarial), torch.maximum(best, clean), rtol=1e-3)


def test_the_better_side_of_brightness_is_found() -> None:
    gray = X * 0.5 + 0.25
    found = (PGD()(linear, gray, Y, Color(brightness=0.2)).adversarial - gray).flatten(1) @ W
    assert torch.allclose(found, (0.2 * W.sum()).abs().expand(8), rtol=1e-6)


def test_the_parts_of_a_composition_are_climbed_together() -> None:
    gray = X * 0.5 + 0.25
    threat = Compose(Color(brightness=0.2), Patch(0.25, (0.5, 0.5)))
    found = (PGD()(linear, gray, Y, threat).adversarial - gray).flatten(1) @ W
    under = torch.zeros(6, 6, dtype=torch.bool)
    under[2:5, 2:5] = True
    outside = W * (~under).flatten()
    best = (
        torch.where(under.flatten(), (W > 0).to(X.dtype) - gray.flatten(1), 0) @ W
        + (0.2 * outside.sum()).abs()
    )
    assert torch.allclose(found, best, rtol=1e-3)


def test_a_flow_moves_every_pixel_towards_what_pays() -> None:
    ramp = torch.linspace(0, 1, 6, dtype=X.dtype).expand(1, 1, 6, 6).contiguous()
    outcome = PGD()(linear, ramp, Y[:1], Spatial(flow=0.5, fill="border"))
    seen = (torch.arange(6, dtype=X.dtype) + 0.5 * W.view(6, 6).sign()) / 5
    assert torch.allclose(outcome.adversarial[0, 0, :, 1:5], seen[:, 1:5], atol=1e-3)
