import pytest
import torch
from torch.nn import functional as F

from quintain.attacks import DIFGSM, MIFGSM
from quintain.attacks.transfer.di_fgsm import resize_and_pad
from quintain.core.errors import DataError, SettingError
from quintain.testing import random_inputs
from quintain.threats import Linf
from tests.attacks.gradient.watched import Watched, scene


def test_resizing_is_that_of_interpolate_on_a_black_ground() -> None:
    image = random_inputs(3, 2, 10, 20)
    chance = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.99, 0.99], [0.99, 0.5, 0.5]], dtype=torch.float64)
    small = F.interpolate(image, (9, 18), mode="bilinear", align_corners=False)
    seen = resize_and_pad(image, chance, 0.9, 0.25)
    assert torch.allclose(seen[0, :, :9, :18], small[0])
    assert (seen[0, :, 9:] == 0.25).all()
    assert (seen[0, :, :, 18:] == 0.25).all()
    assert torch.allclose(seen[1, :, 1:, 2:], small[1])
    assert torch.equal(seen[2], image[2])


def test_changed_pictures_are_asked_about_but_not_judged() -> None:
    x, y = random_inputs(6, 1, 10, 10, seed=2), torch.zeros(6, dtype=torch.long)

    def border(z: torch.Tensor) -> torch.Tensor:
        dark = (z[:, 0, 0] < 0.3).all(1) | (z[:, 0, -1] < 0.3).all(1)
        return torch.stack(
            [torch.where(dark, 0.0, 1.0) + 0 * z.flatten(1).sum(1), 0.5 + 0.01 * z.flatten(1).sum(1) / 100], 1
        )

    outcome = DIFGSM(steps=8, diversity_prob=1.0, resize_rate=0.5)(border, 0.6 + 0.4 * x, y, Linf(0.1))
    assert not outcome.success.any()
    assert outcome.forwards.tolist() == [10] * 6
    assert outcome.backwards.tolist() == [8] * 6


def test_unchanged_pictures_are_judged_as_they_are_asked() -> None:
    x, y = torch.full((4, 1, 10, 10), 0.5), torch.zeros(4, dtype=torch.long)
    outcome = DIFGSM(diversity_prob=1e-9)(
        lambda z: torch.stack([0 * z[:, 0, 0, 0] + 0.55, z[:, 0, 0, 0]], 1), x, y, Linf(0.1)
    )
    plain = MIFGSM()(lambda z: torch.stack([0 * z[:, 0, 0, 0] + 0.55, z[:, 0, 0, 0]], 1), x, y, Linf(0.1))
    assert outcome.success.all()
    assert torch.equal(outcome.adversarial, plain.adversarial)
    assert torch.equal(outcome.forwards, plain.forwards)


def test_each_step_and_each_example_has_its_own_draw() -> None:
    model, x, y = scene(1, 20, 20)
    DIFGSM(steps=6, diversity_prob=1.0, resize_rate=0.5)(model, x, y, Linf(1e-9))
    black = torch.stack([(asked == 0).flatten(1).sum(1) for asked in model.asked[1:-1]])
    assert all(len(set(column.tolist())) > 2 for column in black.T)
    assert len({tuple(row.tolist()) for row in black}) == 6


def test_half_of_the_pictures_get_a_size_of_which_one_in_three_is_their_own() -> None:
    x, y = (
        torch.rand(100, 1, 20, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0)),
        torch.zeros(100, dtype=torch.long),
    )
    model = Watched(400)
    DIFGSM(steps=6)(model, x, y, Linf(1e-9))
    changed = [((asked - x).abs() > 1e-6).flatten(1).any(1).double().mean() for asked in model.asked[1:-1]]
    assert 0.28 < float(torch.stack(changed).mean()) < 0.39


def test_only_pictures_can_be_resized() -> None:
    with pytest.raises(DataError, match=r"di-fgsm; expected images \(B, C, H, W\)"):
        DIFGSM()(*scene(9), Linf(0.1))
    with pytest.raises(SettingError, match=r"resize_rate = 0.0"):
        DIFGSM(resize_rate=0.0)
