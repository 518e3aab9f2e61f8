import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from quintain.core.errors import SettingError
from quintain.threats import ExampleRNG, Spatial, parse
from quintain.threats.spatial import Motion

X = torch.rand(3, 2, 9, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def moved(threat: Spatial, *params: float, x: Tensor = X) -> Tensor:
    return threat.render(x, torch.tensor([params], dtype=x.dtype).expand(len(x), -1))


@pytest.mark.parametrize("fill", ["black", "border"])
@pytest.mark.parametrize(("down", "right"), [(0, 1), (2, 0), (-1, -2), (3, -3)])
def test_whole_pixels_are_shifted_bit_for_bit(fill, down: int, right: int) -> None:
    image = moved(Spatial(shift=3, fill=fill), down / 3, right / 3)
    rows, columns = (torch.arange(9) - by for by in (down, right))
    expected = X[:, :, rows.clamp(0, 8)][:, :, :, columns.clamp(0, 8)]
    if fill == "black":
        outside = ((rows < 0) | (rows > 8))[:, None] | ((columns < 0) | (columns > 8))
        expected = expected.masked_fill(outside, 0)
    assert torch.allclose(image, expected, atol=1e-12)


@pytest.mark.parametrize("quarters", [1, 2, -1])
def test_quarter_turns_go_counterclockwise(quarters: int) -> None:
    assert torch.allclose(
        moved(Spatial(rotate=180), quarters / 2), torch.rot90(X, quarters, (2, 3)), atol=1e-12
    )


def test_a_turn_is_that_of_an_affine_grid() -> None:
    x = torch.rand(1, 1, 12, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    angle = math.radians(20)
    matrix = (
        torch.tensor(
            [[[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0]]],
            dtype=torch.float64,
        )
        / 1.25
    )
    grid = F.affine_grid(matrix, [1, 1, 12, 12], align_corners=False)
    expected = F.grid_sample(x, grid, align_corners=False)
    assert torch.allclose(moved(Spatial(rotate=20, scale=0.25), 1.0, 1.0, x=x), expected, atol=1e-12)


def test_the_shift_comes_after_the_turn() -> None:
    both = moved(Spatial(rotate=90, shift=2), 1.0, 1.0, 0.0)
    assert torch.allclose(both, moved(Spatial(shift=2), 1.0, 0.0, x=torch.rot90(X, 1, (2, 3))), atol=1e-12)


def test_a_flow_looks_beside_each_pixel() -> None:
    threat = Spatial(flow=1)
    flow = torch.zeros(3, 2, 9, 9, dtype=X.dtype)
    flow[:, 0, 4, 4], flow[:, 1, 2, 3] = 1.0, 0.5
    image = threat.render(X, threat.pack(Motion(*[torch.zeros(3)] * 4, flow)))
    expected = X.clone()
    expected[:, :, 4, 4] = X[:, :, 5, 4]
    expected[:, :, 2, 3] = (X[:, :, 2, 3] + X[:, :, 2, 4]) / 2
    assert torch.allclose(image, expected, atol=1e-12)


def test_black_is_the_low_side_of_the_box() -> None:
    image = moved(Spatial(shift=2, low=-1, high=2), 1.0, 0.0)
    assert (image[:, :, :2] == -1).all()


def test_splitting_and_joining_are_inverse() -> None:
    for threat in (
        Spatial(rotate=5),
        Spatial(shift=1, scale=0.1),
        Spatial(5, 1, 0.1, 2.0),
        Spatial(scale=0.5, flow=1),
    ):
        params = threat.sample(X, ExampleRNG(0, torch.arange(3)))
        assert torch.equal(threat.pack(threat.unpack(params, X)), params)


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("spatial:rotate=0", "allows no change"),
        ("spatial:fill=border", "allows no change"),
        ("spatial:rotate=200", "from 0 to 180 degrees"),
        ("spatial:scale=1", "from 0 to 0.99"),
        ("spatial:shift=-1", "expected a number from 0"),
        ("spatial:rotate=15,fill=mirror", "expected black or border"),
        ("spatial:turn=15", "expected rotate, shift, scale, flow, fill"),
        ("spatial:15", "no option of spatial"),
        ("spatial:rotate=15,rotate=3", "given twice"),
    ],
)
def test_wrong_tokens_are_refused(token: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        parse(token)


def test_tokens_are_written() -> None:
    assert Spatial(15, 3).spec == "spatial:rotate=15,shift=3"
    assert Spatial(flow=1.5, fill="border").spec == "spatial:flow=1.5,fill=border"
    assert parse("spatial: shift = 3 , rotate = 15") == Spatial(15, 3)
