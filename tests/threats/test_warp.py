import math

import pytest
import torch
from torch import Tensor

from quintain.threats.warp import centered_grid, composite, homography, resample, similarity

SCENE = torch.rand(2, 3, 11, 13, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
STICKER = torch.rand(2, 3, 5, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
WHOLE = torch.ones(2, 1, 5, 5, dtype=torch.float64)


def where(rows: float, columns: float, **options: float) -> Tensor:
    return similarity(
        *(
            torch.full((2,), value, dtype=torch.float64)
            for value in (options.get("angle", 0.0), options.get("size", 1.0), rows, columns)
        )
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 28), (32, 33), (100, 3)])
@pytest.mark.parametrize("fill", [None, 0.0, -1.0])
def test_unmoved_pixels_come_back_bit_for_bit(
    dtype: torch.dtype, size: tuple[int, int], fill: float | None
) -> None:
    image = torch.rand(2, 2, *size, generator=torch.Generator().manual_seed(2)).to(dtype)
    rows, columns = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    assert torch.equal(
        resample(image, *(part.expand(2, -1, -1).float() for part in (rows, columns)), fill), image
    )


def test_between_pixels_is_bilinear_and_around_them_is_the_fill() -> None:
    image = torch.tensor([[0.0, 1.0], [2.0, 5.0]]).view(1, 1, 2, 2)

    def at(row: float, column: float, fill: float | None) -> float:
        return resample(image, torch.tensor([[[row]]]), torch.tensor([[[column]]]), fill).item()

    assert at(0.5, 0.5, None) == pytest.approx(2.0)
    assert at(0.25, 1.0, None) == pytest.approx(2.0)
    assert at(-9.0, 0.0, None) == 0
    assert at(9.0, 9.0, None) == 5
    assert at(9.0, 9.0, 3.0) == at(-9.0, 0.5, 3.0) == 3
    assert at(1.5, 1.0, 3.0) == pytest.approx(4.0)
    assert math.isfinite(at(math.nan, math.inf, 3.0))


def test_a_sticker_moved_by_whole_pixels_is_pasted_there() -> None:
    image = composite(SCENE, STICKER, WHOLE, where(2, -3), supersample=1)
    expected = SCENE.clone()
    expected[:, :, 5:10, 1:6] = STICKER
    assert torch.allclose(image, expected, atol=1e-12)


def test_a_transparent_sticker_changes_nothing_and_half_of_one_blends() -> None:
    assert torch.equal(composite(SCENE, STICKER, 0 * WHOLE, where(0, 0, angle=1.0)), SCENE)
    half = composite(SCENE, STICKER, WHOLE / 2, where(0, 0), supersample=1)
    assert torch.allclose(half[:, :, 3:8, 4:9], (SCENE[:, :, 3:8, 4:9] + STICKER) / 2, atol=1e-12)


@pytest.mark.parametrize(("angle", "size"), [(0.0, 0.5), (0.4, 1.0), (1.0, 1.6), (0.2, 0.75)])
def test_the_area_is_that_of_the_sticker_at_any_angle_and_size(angle: float, size: float) -> None:
    dark, white = (
        torch.zeros(1, 1, 40, 40, dtype=torch.float64),
        torch.ones(1, 1, 12, 12, dtype=torch.float64),
    )
    covered = composite(dark, white, white, where(0.3, -0.2, angle=angle, size=size)[:1], supersample=4).sum()
    assert covered == pytest.approx(144 * size**2, rel=0.04)


def test_a_turn_goes_counterclockwise() -> None:
    image = composite(SCENE, STICKER, WHOLE, where(0, 0, angle=math.pi / 2), supersample=1)
    assert torch.allclose(image[:, :, 3:8, 4:9], torch.rot90(STICKER, 1, (2, 3)), atol=1e-12)


def test_a_homography_carries_the_corners() -> None:
    corners = torch.tensor([[[-4.0, -5.0], [-3.0, 4.0], [5.0, 6.0], [3.0, -4.0]]], dtype=torch.float64)
    matrix = homography(corners, 6, 8)
    source = torch.tensor([[-3.0, -4.0], [-3.0, 4.0], [3.0, 4.0], [3.0, -4.0]], dtype=torch.float64)
    carried = torch.cat((source, torch.ones(4, 1, dtype=torch.float64)), 1) @ matrix[0].T
    assert torch.allclose(carried[:, :2] / carried[:, 2:], corners[0], atol=1e-9)


def test_a_flat_view_in_perspective_is_the_plain_one() -> None:
    corners = torch.tensor([[-2.5, -2.5], [-2.5, 2.5], [2.5, 2.5], [2.5, -2.5]], dtype=torch.float64).expand(
        2, 4, 2
    )
    assert torch.allclose(homography(corners, 5, 5), where(0, 0), atol=1e-12)


def test_gradients_reach_sticker_alpha_and_place() -> None:
    parts = [part.clone().requires_grad_() for part in (STICKER, WHOLE, where(0.3, 0.2, angle=0.3, size=0.9))]
    gradients = torch.autograd.grad(composite(SCENE, *parts).square().sum(), parts)
    assert all(gradient.isfinite().all() and gradient.abs().sum() > 0 for gradient in gradients)


def test_pixels_are_counted_from_the_middle() -> None:
    rows, columns = centered_grid(2, 3, torch.empty(0))
    assert rows.flatten().tolist() == [-0.5, 0.5]
    assert columns.flatten().tolist() == [-1.0, 0.0, 1.0]
