from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from quintain.core.errors import DataError, SettingError, UnknownNameError
from quintain.testing import random_inputs
from quintain.threats import ExampleRNG, Linf, Mask, contains, parse
from quintain.threats.shapes import SHAPES, shape_mask


@pytest.fixture
def corner(tmp_path: Path) -> str:
    """A mask file of 4 x 6 pixels, of which the upper left two belong."""
    mask = np.zeros((4, 6), dtype=np.uint8)
    mask[0, :2] = 255
    Image.fromarray(mask).save(tmp_path / "corner.png")
    return str(tmp_path / "corner.png")


@pytest.mark.parametrize("name", sorted(SHAPES))
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (2, 3), (4, 4), (10, 6), (28, 28), (64, 48), (224, 224)])
def test_shapes_are_drawn_at_any_size_and_are_the_same_from_both_sides(
    name: str, size: tuple[int, int]
) -> None:
    drawn = shape_mask(name, *size)
    assert drawn.shape == size
    assert drawn.dtype == torch.bool
    assert drawn.any()
    assert torch.equal(drawn, drawn.flip(1))


@pytest.mark.parametrize(("name", "share"), [("eyeglasses", 0.065), ("border", 0.36), ("disc", 0.049)])
@pytest.mark.parametrize("size", [112, 224, 500])
def test_shapes_are_as_large_as_they_say(name: str, share: float, size: int) -> None:
    assert shape_mask(name, size, size).double().mean().item() == pytest.approx(share, rel=0.03)


def test_eyeglasses_leave_the_eyes_open_and_hold_together() -> None:
    drawn = shape_mask("eyeglasses", 224, 224)
    left, right = drawn[:, :112], drawn[:, 112:]
    eye = round(0.4 * 224), round(0.3 * 224)
    assert not drawn[eye]
    assert not drawn[eye[0], 224 - 1 - eye[1]]
    assert left[:, -1].any()
    assert right[:, 0].any()
    assert not drawn[: round(0.25 * 224)].any()
    assert not drawn[round(0.55 * 224) :].any()


def test_nothing_outside_the_shape_moves_and_inside_it_is_linf() -> None:
    x = random_inputs(5, 3, 12, 10, dtype=torch.float32)
    z = x + torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    ball, inside = Mask("border", 0.2), shape_mask("border", 12, 10)
    point = ball.project(z, x)
    assert torch.equal(point[..., ~inside], x[..., ~inside])
    assert torch.equal(point[..., inside], Linf(0.2).project(z, x)[..., inside])
    assert torch.equal(ball.steepest_step(z, 0.1), Linf(0.2).steepest_step(z, 0.1) * inside)
    assert torch.equal(ball.sample(x, ExampleRNG(0, torch.arange(5)))[..., ~inside], x[..., ~inside])


def test_a_change_outside_the_shape_has_no_size() -> None:
    ball, x = Mask("border", 0.2), torch.full((3, 1, 12, 10), 0.5)
    z = x.clone()
    z[1, 0, 0, 0] += 0.125
    z[2, 0, 6, 5] += 1e-7
    assert ball.measure(z, x).tolist() == [0.0, 0.125, torch.inf]
    assert contains(ball, z, x).tolist() == [True, True, False]


def test_a_mask_of_ones_is_no_mask(tmp_path: Path) -> None:
    np.save(tmp_path / "ones.npy", np.ones((4, 4)))
    ball = Mask(str(tmp_path / "ones.npy"), 8 / 255)
    x = random_inputs(6, 3, 4, 4, dtype=torch.float32)
    z = x + torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(ball.project(z, x), Linf(8 / 255).project(z, x))
    assert torch.equal(ball.measure(z, x), Linf(8 / 255).measure(z, x))


def test_bright_pixels_of_a_picture_and_non_zero_ones_of_an_array_belong(corner: str, tmp_path: Path) -> None:
    np.save(tmp_path / "corner.npy", np.array([[2, -1, 0], [0, 0, 0]]))
    assert shape_mask(corner, 4, 6).nonzero().tolist() == [[0, 0], [0, 1]]
    assert shape_mask(str(tmp_path / "corner.npy"), 2, 3).nonzero().tolist() == [[0, 0], [0, 1]]


def test_a_file_that_was_written_again_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "mask.npy"
    np.save(path, np.eye(2))
    first = shape_mask(str(path), 2, 2)
    np.save(path, np.ones((2, 2)))
    path.touch()
    assert int(first.sum()) == 2
    assert shape_mask(str(path), 2, 2).all()


def test_a_shape_first_seen_in_inference_mode_serves_gradients() -> None:
    with torch.inference_mode():
        Mask("disc", 0.1).measure(torch.zeros(1, 1, 31, 17), torch.zeros(1, 1, 31, 17))
    gradient = torch.ones(1, 1, 31, 17, requires_grad=True)
    torch.where(shape_mask("disc", 31, 17), gradient, 0.0).sum().backward()
    assert torch.equal(gradient.grad[0, 0] > 0, shape_mask("disc", 31, 17))


def test_tokens_keep_shape_path_and_box(corner: str) -> None:
    assert Mask("eyeglasses", 0.5).spec == "mask:eyeglasses:0.5"
    assert parse("mask:eyeglasses:0.5") == Mask("eyeglasses", 0.5) != Mask("border", 0.5)
    for ball in (Mask(corner, 8 / 255), Mask("disc", 0.3, -1, 1)):
        assert parse(ball.spec) == ball
        assert hash(parse(ball.spec)) == hash(ball)
    assert Mask(corner, 8 / 255).spec == f"mask:{corner}:8/255"


def test_what_is_no_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean eyeglasses"):
        parse("mask:eyeglases:0.5")
    with pytest.raises(UnknownNameError, match=r"path/to/mask\.png"):
        Mask("qqq", 0.5)
    with pytest.raises(SettingError, match="there is no mask file"):
        Mask(str(tmp_path / "gone.png"), 0.5)
    with pytest.raises(SettingError, match="needs a shape and a size"):
        parse("mask:eyeglasses")
    with pytest.raises(SettingError, match="Did you mean 8/255"):
        parse("mask:eyeglasses:8")


def test_images_that_a_mask_does_not_fit_are_refused(corner: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"shape \(4, 6\); expected \(8, 8\)"):
        Mask(corner, 0.5).bounds(torch.zeros(2, 1, 8, 8))
    with pytest.raises(DataError, match=r"inputs of shape \(2, 5\); expected images"):
        Mask("disc", 0.5).steepest_step(torch.zeros(2, 5), 0.1)
    np.save(tmp_path / "empty.npy", np.zeros((4, 6)))
    with pytest.raises(DataError, match="is empty"):
        shape_mask(str(tmp_path / "empty.npy"), 4, 6)
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(DataError, match="cannot be read"):
        shape_mask(str(tmp_path / "text.png"), 4, 6)
