"""Gradients taken through another image than the candidate's: counted, and judged only where the two are
one.
"""

import torch
from torch import Tensor

from quintain.attacks import Goal, Search
from quintain.threats import ExampleRNG, Linf, ProjectedLight


def search(model: object, x: Tensor, threat: object = Linf(0.5), **settings: int) -> Search:
    y = torch.zeros(len(x), dtype=torch.long)
    return Search(model, x, Goal(y), threat, ExampleRNG(0, torch.arange(len(x))), name="probe", **settings)


def line(z: Tensor) -> Tensor:
    return torch.stack([0.5 + 0 * z.flatten(1).sum(1), z.flatten(1).mean(1)], 1)


def test_only_the_candidates_own_images_are_judged() -> None:
    probe, rows = search(line, torch.full((3, 1, 2, 2), 0.4)), torch.arange(3)
    z = torch.full((3, 1, 2, 2), 0.45)
    brighter = torch.tensor([0.3, 0.0, 0.02]).view(3, 1, 1, 1)
    answer = probe.value_and_grad(z, rows, probe.goal.margin, lambda image: image + brighter)
    assert torch.allclose(answer.logits[:, 1], torch.tensor([0.75, 0.45, 0.47]))
    assert torch.allclose(answer.loss_values, torch.tensor([0.25, -0.05, -0.03]))
    assert not probe.success.any()
    assert torch.allclose(probe.best_margin, torch.tensor([-0.1, -0.05, -0.1]))
    assert torch.equal(probe.best[1], z[1])
    assert torch.equal(probe.best[0], probe.x[0])
    assert probe.model.forwards.tolist() == [2, 2, 2]
    assert probe.model.backwards.tolist() == [1, 1, 1]


def test_the_gradient_is_that_of_the_candidate() -> None:
    probe, rows = search(line, torch.full((2, 1, 2, 2), 0.4)), torch.arange(2)
    answer = probe.value_and_grad(probe.x, rows, probe.goal.margin, lambda image: 0.5 * image)
    assert torch.allclose(answer.gradient, torch.full((2, 1, 2, 2), 0.125))


def test_a_break_that_was_shown_is_a_break_where_nothing_was_changed() -> None:
    probe = search(line, torch.full((2, 1, 2, 2), 0.4))
    z = torch.full((2, 1, 2, 2), 0.8)
    probe.value_and_grad(
        z,
        torch.arange(2),
        probe.goal.margin,
        lambda image: torch.where(torch.tensor([True, False]).view(2, 1, 1, 1), image, 0.9),
    )
    assert probe.success.tolist() == [True, False]


def test_no_number_for_another_image_is_no_error() -> None:
    def cliff(z: Tensor) -> Tensor:
        return torch.where(z.flatten(1)[:, :1] > 0.9, torch.nan, line(z))

    probe = search(cliff, torch.full((2, 1, 2, 2), 0.4))
    probe.value_and_grad(probe.x, torch.arange(2), probe.goal.margin, lambda image: image + 0.55)
    assert not probe.error.any()


def test_a_familys_candidates_are_shown_as_images() -> None:
    threat = ProjectedLight(0.5)
    probe, seen = search(line, torch.full((2, 1, 2, 2), 0.2), threat), []

    def shown(image: Tensor) -> Tensor:
        seen.append(image.shape)
        return image.flip(3)

    answer = probe.value_and_grad(torch.full((2, 4), 0.5), torch.arange(2), probe.goal.margin, shown)
    assert seen == [(2, 1, 2, 2)]
    assert torch.allclose(answer.gradient, torch.full((2, 4), 0.125))
    assert torch.allclose(probe.best_margin, torch.full((2,), -0.05))
