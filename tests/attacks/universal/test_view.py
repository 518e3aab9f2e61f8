import math

import pytest
import torch

from quintain.attacks.universal.fitted_patch import FittedPatch, cut_alpha, side_for_area
from quintain.attacks.universal.view import View
from quintain.core.errors import DataError, SettingError, UnknownNameError
from quintain.threats.rng import ExampleRNG
from tests.attacks.universal.physical_scenes import FIXED_VIEW

PLAIN = View(None, 0.0, 0.0, (1.0, 1.0), 0.0, 0.0, 0.0)
BLACK = torch.zeros(60, 1, 48, 64)


def white(view: View, shape: str = "disc", area: float = 0.1) -> FittedPatch:
    side = side_for_area(shape, area, 48, 64) / view.magnification[1]
    alpha = cut_alpha(shape, round(side))
    return FittedPatch(torch.ones(1, *alpha.shape[1:]), alpha, side / 48, view)


def test_a_still_view_shows_the_pattern_bit_for_bit() -> None:
    pattern = torch.rand(3, 8, 10, generator=torch.Generator().manual_seed(0))
    scene = torch.rand(2, 3, 8, 10, generator=torch.Generator().manual_seed(1))
    alpha = torch.zeros(1, 8, 10)
    alpha[:, 2:5, 3:9] = 1
    assert torch.equal(
        FittedPatch(pattern, alpha, 1.0, FIXED_VIEW).apply(scene), torch.where(alpha > 0, pattern, scene)
    )


@pytest.mark.parametrize("shape", ["disc", "square", "letter"])
@pytest.mark.parametrize("area", [0.03, 0.1, 0.25])
def test_it_covers_its_share_of_the_picture(shape: str, area: float) -> None:
    covered = white(PLAIN, shape, area).apply(BLACK[:5]).mean((1, 2, 3))
    torch.testing.assert_close(covered, torch.full((5,), area), rtol=0.04, atol=0)


def test_no_view_covers_more_and_the_mean_is_that_of_the_sizes() -> None:
    view = View(None, 0.0, 180.0, (0.6, 1.0), 0.0, 0.0, 0.0)
    covered = white(view).apply(BLACK).mean((1, 2, 3))
    assert covered.max() <= 0.1 * 1.02
    assert covered.mean() == pytest.approx(0.1 * (0.6**2 + 0.6 + 1) / 3, rel=0.06)
    tilted = white(View(None, 0.0, 180.0, (0.6, 1.0), 0.3, 0.0, 0.0)).apply(BLACK).mean((1, 2, 3))
    assert tilted.max() <= 0.1 * 1.02
    assert tilted.mean() < covered.mean()


def test_an_upright_sticker_anywhere_is_wholly_on_the_picture_and_goes_everywhere() -> None:
    on = (
        white(View(None, 0.0, 0.0, (1.0, 1.0), 0.0, 0.0, 0.0), "square").apply(
            BLACK[:1].expand(400, -1, -1, -1)
        )
        > 0.5
    )
    rows, columns = on.any(3).float().sum(2), on.any(2).float().sum(2)
    assert (rows.max() - rows.min() <= 1) & (columns.max() - columns.min() <= 1)
    assert on.any(0).float().mean() > 0.97


@pytest.mark.parametrize(
    ("position", "middle"),
    [((0, 0), (8.5, 8.5)), ((1, 1), (39.5, 55.5)), ((0.5, 0.5), (24, 32)), ((0, 1), (8.5, 55.5))],
)
def test_a_position_is_where_the_sticker_touches_the_edge(
    position: tuple[float, float], middle: tuple[float, float]
) -> None:
    decal = FittedPatch(
        torch.ones(1, 17, 17),
        cut_alpha("square", 17),
        17 / 48,
        View(position, 0.0, 0.0, (1.0, 1.0), 0.0, 0.0, 0.0),
    )
    seen = decal.apply(BLACK[:1])[0, 0].double()
    rows, columns = torch.arange(48) + 0.5, torch.arange(64) + 0.5
    found = (seen.sum(1) * rows).sum() / seen.sum(), (seen.sum(0) * columns).sum() / seen.sum()
    assert [float(at) for at in found] == pytest.approx(middle, abs=0.02)


def test_a_turn_turns_counterclockwise_by_at_most_its_degrees() -> None:
    bar = torch.zeros(1, 41, 41)
    bar[:, 20, 20:] = 1
    decal = FittedPatch(
        torch.ones(1, 41, 41), bar, 41 / 48, View((0.5, 0.5), 0.0, 30.0, (1.0, 1.0), 0.0, 0.0, 0.0)
    )
    seen = decal.apply(BLACK)[:, 0]
    down, right = torch.arange(48)[:, None] - 23.5, torch.arange(64)[None] - 31.5
    angles = torch.atan2(-(seen * down).sum((1, 2)), (seen * right).sum((1, 2))) * 180 / math.pi
    assert angles.abs().max() < 31
    assert angles.min() < -24
    assert angles.max() > 24


def test_light_stays_in_its_bounds_and_in_the_box() -> None:
    view, stickers = (
        View(brightness=0.1, contrast=0.2),
        torch.linspace(0, 1, 11).view(1, 1, 1, 11).expand(200, -1, -1, -1),
    )
    lit = view.relight(stickers, ExampleRNG(0, torch.arange(200)))
    assert ((lit >= 0) & (lit <= 1)).all()
    assert ((lit - stickers).abs() <= 0.1 + 0.2 * (stickers - 0.5).abs() + 1e-6).all()
    assert lit[:, 0, 0, 5].std() > 0.04


def test_a_view_belongs_to_its_example() -> None:
    decal, scenes = white(View(None, 0.0, 90.0, (0.5, 1.0), 0.2)), BLACK[:7]
    ids = torch.arange(40, 47)
    together, order = decal.apply(scenes, ids, seed=3), torch.tensor([4, 0, 6])
    torch.testing.assert_close(
        decal.apply(scenes[order], ids[order], seed=3), together[order], rtol=0, atol=1e-6
    )
    assert not torch.allclose(decal.apply(scenes, ids, seed=4), together)
    assert len({float(one.sum()) for one in together}) == 7


def test_what_is_seen_has_the_right_gradient() -> None:
    scenes = torch.rand(2, 1, 9, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    decal = FittedPatch(
        torch.full((1, 5, 5), 0.5, dtype=torch.float64),
        cut_alpha("disc", 5).double(),
        0.5,
        View(rotation=40.0),
    )
    assert torch.autograd.gradcheck(
        lambda pattern: decal.apply_pattern(pattern, scenes, ExampleRNG(0, torch.arange(2))),
        decal.pattern.requires_grad_(),
        atol=1e-6,
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"rotation": -1.0},
        {"perspective": 1.0},
        {"magnification": (1.0, 0.9)},
        {"magnification": (0.0, 0.9)},
        {"position": (0.5, 1.1)},
        {"shift": math.nan},
    ],
)
def test_a_view_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(SettingError, match=next(iter(wrong))):
        View(**wrong)


def test_cuts_and_areas_that_cannot_be_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean disc"):
        cut_alpha("dics", 5)
    with pytest.raises(SettingError, match="larger than the image"):
        side_for_area("disc", 0.9, 20, 20)
    with pytest.raises(SettingError, match="area = 0"):
        side_for_area("disc", 0, 20, 20)
    with pytest.raises(DataError, match="outside"):
        FittedPatch(torch.full((1, 3, 3), 1.5), cut_alpha("square", 3), 0.1, FIXED_VIEW)
    with pytest.raises(DataError, match="expected \\(C, h, w\\)"):
        FittedPatch(torch.ones(1, 3, 4), cut_alpha("square", 3), 0.1, FIXED_VIEW)
    with pytest.raises(DataError, match="expected \\(B, 1, H, W\\)"):
        FittedPatch(torch.ones(1, 3, 3), cut_alpha("square", 3), 0.1, FIXED_VIEW).apply(
            torch.zeros(2, 3, 8, 8)
        )


def test_the_controls_have_the_same_cut_and_views() -> None:
    decal, scenes = white(View(brightness=0.0, contrast=0.0)), BLACK[:4]
    picture = torch.linspace(0, 1, 30 * 50).view(1, 30, 50)
    for control in (decal.random_control(1), decal.gray_control(), decal.crop_control(picture)):
        assert torch.equal(control.apply(scenes) > 0, decal.apply(scenes) > 0)
    assert decal.random_control(1).pattern.std() == pytest.approx(12**-0.5, rel=0.1)
    middle = picture[:, :, 10:40].mean()
    assert decal.crop_control(picture).pattern.mean() == pytest.approx(float(middle), abs=1e-3)
