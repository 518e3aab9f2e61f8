import numpy as np
import pytest
import torch

from quintain.core.errors import DataError, SettingError, UnknownNameError
from quintain.threats import ExampleRNG, Patch, parse
from quintain.threats.patch import PatchParams
from quintain.threats.shapes import shape_mask

SCENE = torch.linspace(0, 1, 2 * 3 * 8 * 10).view(2, 3, 8, 10)


def stuck(threat: Patch, x: torch.Tensor, place: tuple[float, float], value: float = 0.5) -> torch.Tensor:
    sticker = threat.unpack(threat.sample(x, ExampleRNG(0, torch.arange(len(x)))), x)
    places = torch.tensor([place], dtype=x.dtype).expand(len(x), 2)
    return threat.render(
        x, threat.pack(PatchParams(torch.full_like(sticker.pixels, value), places, sticker.present))
    )


@pytest.mark.parametrize(
    ("area", "size", "side"),
    [
        (0.05, (224, 224), 50),
        (0.008, (224, 224), 20),
        (0.05, (28, 28), 6),
        (1e-9, (28, 28), 1),
        (1, (28, 28), 28),
        (1, (8, 10), 8),
    ],
)
def test_the_side_is_that_of_the_area_and_at_least_a_pixel(
    area: float, size: tuple[int, int], side: int
) -> None:
    assert Patch(area).patch_size(torch.empty(1, 3, *size)) == (side, side)
    assert side**2 <= max(1, area * size[0] * size[1])


@pytest.mark.parametrize(
    ("place", "corner"), [((0, 0), (0, 0)), ((1, 1), (5, 7)), ((0.5, 0.5), (3, 4)), ((0, 1), (0, 7))]
)
def test_a_sticker_covers_its_square_and_nothing_else(
    place: tuple[float, float], corner: tuple[int, int]
) -> None:
    image = stuck(Patch(0.12, place), SCENE, place, 0.25)
    under = torch.zeros(8, 10, dtype=torch.bool)
    under[corner[0] : corner[0] + 3, corner[1] : corner[1] + 3] = True
    assert (image[..., under] == 0.25).all()
    assert torch.equal(image[..., ~under], SCENE[..., ~under])


def test_the_pixels_are_pasted_in_their_order() -> None:
    threat, x = Patch(4 / 80, (0, 0)), SCENE
    pixels = torch.rand(2, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    image = threat.render(x, threat.pack(PatchParams(pixels, torch.zeros(2, 2), torch.ones(2, 1))))
    assert torch.equal(image[:, :, :2, :2], pixels)


def test_every_place_is_reached_by_its_number_and_all_are_as_likely() -> None:
    threat, x = Patch(0.12), SCENE[:1]
    corners = torch.cartesian_prod(torch.arange(6), torch.arange(8))
    assert torch.equal(threat.top_left(threat.position_of(corners, x), x), corners)
    many = SCENE[:1].expand(4000, -1, -1, -1)
    drawn = threat.top_left(
        threat.unpack(threat.sample(many, ExampleRNG(0, torch.arange(4000))), many).position, x
    )
    counts = torch.bincount(drawn[:, 0] * 8 + drawn[:, 1], minlength=48)
    assert ((counts - 4000 / 48).square() * 48 / 4000).sum() < 90


def test_a_fixed_place_cannot_be_moved() -> None:
    threat = Patch(0.1, (0.25, 0.75))
    moved = threat.project(torch.ones(2, threat.num_params(SCENE)), SCENE)
    assert torch.equal(threat.unpack(moved, SCENE).position, torch.tensor([[0.25, 0.75]] * 2))


def test_colors_are_shares_of_the_box() -> None:
    threat = Patch(1, low=-1, high=3)
    assert (stuck(threat, torch.zeros(1, 1, 4, 4), (0, 0), 0.75) == 2).all()


def test_a_sticker_of_a_shape_covers_the_shape() -> None:
    x = torch.rand(2, 3, 40, 40)
    image = stuck(Patch(shape="eyeglasses"), x, (0, 0), 0.5)
    on = shape_mask("eyeglasses", 40, 40)
    assert (image[..., on] == 0.5).all()
    assert torch.equal(image[..., ~on], x[..., ~on])


def test_a_mask_image_of_another_size_is_refused(tmp_path) -> None:
    np.save(tmp_path / "mask.npy", np.eye(6))
    threat = parse(f"patch:shape={tmp_path / 'mask.npy'}")
    assert parse(threat.spec) == threat
    assert stuck(threat, torch.zeros(1, 1, 6, 6), (0, 0), 1.0)[0, 0].equal(torch.eye(6))
    with pytest.raises(DataError, match=r"shape \(6, 6\); expected \(8, 10\)"):
        stuck(threat, SCENE, (0, 0))


@pytest.mark.parametrize("area", [0, -0.1, 1.01, 5, float("nan"), "5%"])
def test_an_area_that_is_none_is_refused(area) -> None:
    with pytest.raises(SettingError, match="expected"):
        Patch(area)


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("patch:area=0%", "expected one of the two"),
        ("patch:area=150%", "expected a number from 0 to 1"),
        ("patch:position=0.5x0.5", "expected one of the two"),
        ("patch:area=5%,shape=disc", "expected one of the two"),
        ("patch:area=5%,position=0.5", "expected down x right"),
        ("patch:area=5%,position=0.5x2", "from 0 to 1"),
        ("patch:shape=disc,position=0.5x0.5", "covers the whole image"),
        ("patch:area=big", "is not a number"),
    ],
)
def test_wrong_tokens_are_refused(token: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        parse(token)


def test_an_unknown_shape_is_refused_by_name() -> None:
    with pytest.raises(UnknownNameError, match="eyeglasses"):
        parse("patch:shape=eyeglases")


@pytest.mark.parametrize(
    ("threat", "token"),
    [
        (Patch(0.05), "patch:area=5%"),
        (Patch(1 / 3), "patch:area=0.3333333333333333"),
        (Patch(0.005, (0.5, 0)), "patch:area=0.5%,position=0.5x0"),
        (Patch(0.07, low=-1), "patch:area=7%[-1.0,1.0]"),
    ],
)
def test_tokens_are_written(threat: Patch, token: str) -> None:
    assert threat.spec == token
    assert parse(token) == threat
