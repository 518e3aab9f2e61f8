import pytest
import torch
from torch import Tensor, nn

from quintain.attacks.perturbation import success_rate
from quintain.attacks.universal.sign_stickers import SignStickers, best_window
from quintain.core.errors import DataError, SettingError
from quintain.data.dataset import from_arrays
from quintain.models import Classifier
from tests.attacks.universal.physical_scenes import FIXED_VIEW

BRIGHT = slice(14, 20), slice(4, 10)
"""The window of a 24 x 24 sign that decides about it."""


class Window(nn.Module):
    """Answers 1 where a window is bright, and sees nothing else."""

    def forward(self, x: Tensor) -> Tensor:
        seen = x[:, :, *BRIGHT].mean((1, 2, 3))
        return 20 * torch.stack((0.6 - seen, seen - 0.6), 1)


def photos(count: int, seed: int):
    images = 0.3 + 0.2 * torch.rand(count, 1, 24, 24, generator=torch.Generator().manual_seed(seed))
    return from_arrays(
        images.numpy(), torch.zeros(count, dtype=torch.long).numpy(), name="signs", num_classes=2
    )


def test_the_first_pass_finds_where_and_the_second_what() -> None:
    model = Classifier(Window().eval(), num_classes=2)
    attack = SignStickers(1, area=0.08, count=2, steps=40, batch_size=8, learning_rate=0.1, l1_weight=2.0)
    fitted = attack.fit(model, photos(12, 0))
    inside = fitted.alpha[0, *BRIGHT].sum() / fitted.alpha.sum()
    assert inside > 0.5
    assert success_rate(model, photos(20, 1), fitted, target=1).rate == 1
    assert success_rate(model, photos(20, 1), fitted.random_control(), target=1).rate < 0.2


def test_sparsity_leaves_what_is_not_needed_alone() -> None:
    model = Classifier(Window().eval(), num_classes=2)
    attack = SignStickers(1, steps=40, batch_size=8, learning_rate=0.1, l1_weight=2.0, view=FIXED_VIEW)
    importance = attack.importance(model, photos(12, 0))
    window = torch.zeros(24, 24, dtype=torch.bool)
    window[BRIGHT] = True
    assert importance[~window].max() < 0.05 * importance[window].max()


def test_the_sign_is_all_that_may_be_stuck_on() -> None:
    class Corner(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen = x[:, 0, :2, :2].mean((1, 2))
            return torch.stack((0 * seen, seen), 1)

    importance = SignStickers(1, steps=3, batch_size=4, view=FIXED_VIEW).importance(
        Classifier(Corner().eval(), num_classes=2), photos(4, 0)
    )
    assert importance[:2, :2].max() == 0


def test_stickers_take_the_best_free_windows() -> None:
    importance = torch.rand(12, 15, generator=torch.Generator().manual_seed(0))
    covered = torch.zeros(12, 15)
    covered[3:7, 5:9] = 1
    value, (rows, columns, top, left) = best_window(importance, covered, 2, 4)
    by_hand = max(
        (float(importance[i : i + 2, j : j + 4].mean()), i, j)
        for i in range(11)
        for j in range(12)
        if not covered[i : i + 2, j : j + 4].any()
    )
    assert (rows, columns, top, left) == (2, 4, *by_hand[1:])
    assert value == pytest.approx(by_hand[0])


@pytest.mark.parametrize("count", [1, 2, 4])
def test_together_they_cover_the_area_without_overlap(count: int) -> None:
    importance = torch.rand(64, 64, generator=torch.Generator().manual_seed(count))
    alpha = SignStickers(1, area=0.08, count=count).place_stickers(importance)
    assert alpha.mean() == pytest.approx(0.08, rel=0.1)


def test_stickers_that_find_no_place_are_refused() -> None:
    with pytest.raises(DataError, match="no room"):
        SignStickers(1, area=0.4, count=1, sign_diameter=0.9, aspect=20).place_stickers(torch.ones(24, 24))
    for wrong in ({"count": 0}, {"aspect": 0.5}, {"l1_weight": -1.0}, {"area": 0.4, "sign_diameter": 0.5}):
        with pytest.raises(SettingError, match=next(iter(wrong))):
            SignStickers(1, **wrong)
