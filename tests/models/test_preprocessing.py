import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor

from quintain.core.errors import SettingError
from quintain.models import Classifier, mlp
from quintain.models.preprocessing import (
    JPEG,
    BitSqueeze,
    GaussianFilter,
    MeanFilter,
    MedianFilter,
    RandomResize,
)

EVERY = [
    BitSqueeze(3),
    JPEG(50),
    MedianFilter(3),
    MeanFilter(3),
    GaussianFilter(0.8),
    RandomResize(0.7, seed=1),
]
names = [type(defence).__name__ for defence in EVERY]


def pictures(*shape: int) -> Tensor:
    smooth = torch.rand(*shape[:-2], 4, 4, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(smooth, shape[-2:], mode="bilinear").clamp(0, 1)


@pytest.mark.parametrize("defence", EVERY, ids=names)
@pytest.mark.parametrize("shape", [(3, 1, 9, 12), (2, 3, 16, 11)])
def test_pictures_stay_pictures(defence: torch.nn.Module, shape: tuple[int, ...]) -> None:
    x = pictures(*shape)
    y = defence(x)
    assert y.shape == x.shape
    assert ((y >= 0) & (y <= 1)).all()
    assert not torch.equal(y, x)
    assert Classifier(
        torch.nn.Sequential(defence, torch.nn.Flatten(), mlp(int(np.prod(shape[1:])), 2)).eval()
    ).hash


def test_levels_are_counted() -> None:
    assert len(BitSqueeze(2)(torch.linspace(0, 1, 1000)).unique()) == 4


def test_filters_are_those_of_an_independent_library() -> None:
    x = torch.rand(1, 1, 8, 10, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    plane = x[0, 0].numpy()
    assert np.allclose(MedianFilter(3)(x)[0, 0], ndimage.median_filter(plane, 3, mode="mirror"))
    assert np.allclose(MeanFilter(3)(x)[0, 0], ndimage.uniform_filter(plane, 3, mode="mirror"))
    expected = ndimage.gaussian_filter(plane, 0.8, mode="mirror", radius=3)
    assert np.allclose(GaussianFilter(0.8)(x)[0, 0], expected, atol=1e-6)


@pytest.mark.parametrize("quality", [20, 75, 95])
def test_grey_jpeg_is_what_a_codec_gives_back(quality: int) -> None:
    x = (pictures(1, 1, 24, 32) * 255).round() / 255
    stream = io.BytesIO()
    Image.fromarray((x[0, 0] * 255).byte().numpy()).save(stream, "JPEG", quality=quality)
    codec = torch.from_numpy(np.asarray(Image.open(stream), dtype=np.float32)) / 255
    assert (JPEG(quality)(x)[0, 0] - codec).abs().mean() < 0.6 / 255


def test_colour_jpeg_is_close_to_a_codecs() -> None:
    x = (pictures(1, 3, 24, 32) * 255).round() / 255
    stream = io.BytesIO()
    Image.fromarray((x[0] * 255).byte().permute(1, 2, 0).numpy()).save(
        stream, "JPEG", quality=75, subsampling=0
    )
    codec = torch.from_numpy(np.asarray(Image.open(stream), dtype=np.float32)).permute(2, 0, 1) / 255
    assert (JPEG(75)(x)[0] - codec).abs().mean() < 1.0 / 255


def test_resizing_draws_anew_for_each_call_and_each_picture() -> None:
    x = pictures(1, 1, 12, 12).expand(4, 1, 12, 12)
    defence = RandomResize(0.5, seed=3)
    first, second = defence(x), defence(x)
    assert not torch.equal(first, second)
    assert len({picture.numpy().tobytes() for picture in first}) == 4
    assert torch.equal(RandomResize(0.5, seed=3)(x), first)


@pytest.mark.parametrize(
    "make",
    [
        lambda: BitSqueeze(0),
        lambda: BitSqueeze(9),
        lambda: JPEG(0),
        lambda: MedianFilter(4),
        lambda: GaussianFilter(0.0),
        lambda: RandomResize(1.0),
    ],
)
def test_settings_out_of_range_are_refused(make) -> None:
    with pytest.raises(SettingError, match="expected"):
        make()


def test_jpeg_of_two_channels_is_refused() -> None:
    with pytest.raises(SettingError, match="2 channels"):
        JPEG()(torch.rand(1, 2, 8, 8))
