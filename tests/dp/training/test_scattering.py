"""The scattering transform, against convolutions written out; and features of frozen nets."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quintain.core.errors import ModelError, SettingError
from quintain.dp import PrivatePlan, fit
from quintain.dp.training.features import Features, extract_features
from quintain.dp.training.scattering import Scattering, morlet_filter_bank


def circular(x: torch.Tensor, spectrum: torch.Tensor) -> torch.Tensor:
    """x (N, N) with the filter of this spectrum, by the definition of a circular convolution."""
    kernel, side = torch.fft.ifft2(spectrum), len(x)
    out = torch.zeros(side, side, dtype=torch.complex128)
    for down in range(side):
        for right in range(side):
            out += kernel[down, right] * x.roll((down, right), (0, 1))
    return out


def test_each_channel_is_what_its_definition_says() -> None:
    size, angles = 8, 3
    x = torch.rand(2, 2, size, size, dtype=torch.float64)
    net = Scattering(size, scales=2, angles=angles).double()
    low, bands = morlet_filter_bank(16, 2, angles)
    net.low_pass, net.wavelets = low, bands
    found = net(x)
    assert found.shape == (2, 2 * (1 + 6 + 9), 2, 2)
    for picture in range(2):
        for colour in range(2):
            wide = F.pad(x[picture, colour][None, None], [4] * 4, mode="reflect")[0, 0]
            first = [[circular(wide, band).abs() for band in scale] for scale in bands]
            second = [circular(u, band).abs() for u in first[0] for band in bands[1]]
            channels = [circular(u, low).real[4:-4:4, 4:-4:4] for u in (wide, *first[0], *first[1], *second)]
            torch.testing.assert_close(
                found[picture, 16 * colour : 16 * (colour + 1)], torch.stack(channels), rtol=1e-9, atol=1e-12
            )


@pytest.mark.parametrize(("scales", "angles", "channels"), [(1, 8, 9), (2, 8, 81), (3, 4, 61)])
def test_shapes(scales: int, angles: int, channels: int) -> None:
    net = Scattering(32, scales=scales, angles=angles)
    assert net.channels == channels
    assert net(torch.rand(3, 1, 32, 32)).shape == (3, channels, 32 // 2**scales, 32 // 2**scales)
    assert net(torch.rand(0, 1, 32, 32)).shape == (0, channels, 32 // 2**scales, 32 // 2**scales)


def test_grey_pictures_of_28_pixels_have_81_channels_of_7() -> None:
    net = Scattering(28)
    assert net(torch.rand(2, 1, 28, 28)).shape == (2, 81, 7, 7)
    assert not list(net.parameters())
    assert not net.state_dict()


def test_waves_have_mean_zero_and_no_frequency_gains_energy() -> None:
    low, bands = morlet_filter_bank(36, 2, 8)
    assert low[0, 0] == pytest.approx(1)
    assert bands[..., 0, 0].abs().max() < 1e-12
    turned = bands.flip(-2, -1).roll((1, 1), (-2, -1))
    energy = low.square() + (bands.square() + turned.square()).sum((0, 1)) / 2
    assert energy.max() <= 1 + 1e-12
    assert energy[:10, :10].min() > 0.4


def test_a_layer_keeps_most_of_the_energy_and_adds_none() -> None:
    low, bands = morlet_filter_bank(36, 2, 8)
    generator = torch.Generator().manual_seed(0)
    x = F.avg_pool2d(torch.randn(1, 1, 38, 38, generator=generator, dtype=torch.float64), 3, 1)[0, 0]
    spectrum = torch.fft.fft2(x)
    kept = sum(float(torch.fft.ifft2(spectrum * f).abs().square().sum()) for f in (low, *bands.flatten(0, 1)))
    assert 0.8 < kept / float(x.square().sum()) <= 1 + 1e-9


def test_a_flat_picture_has_its_mean_alone() -> None:
    found = Scattering(28)(torch.full((1, 1, 28, 28), 0.7))
    torch.testing.assert_close(found[:, 0], torch.full((1, 7, 7), 0.7))
    assert found[:, 1:].abs().max() < 1e-6


def test_a_small_move_changes_little() -> None:
    """Relative to its size, a picture that moves by one pixel changes its features less than itself."""
    net = Scattering(28)
    ramp = torch.arange(28.0)
    pictures = torch.stack([((ramp - 12 - move) > 0).float().expand(28, 28) * 0.8 for move in (0, 1)])[
        :, None
    ]
    waves = torch.stack([torch.sin((ramp - move) * math.pi / 3).expand(28, 28) for move in (0, 1)])[:, None]
    for pair, share in ((pictures, 0.6), (waves, 0.5)):
        features = net(pair)
        change = (features[0] - features[1]).norm() / features[0].norm()
        assert change < share * (pair[0] - pair[1]).norm() / pair[0].norm()


@pytest.mark.parametrize(
    "bad", [{"size": 30}, {"size": 4}, {"size": 28, "scales": 0}, {"size": 28, "angles": 0}]
)
def test_what_does_not_fit_is_refused(bad) -> None:
    with pytest.raises(SettingError, match="expected at least one of each, and a larger multiple"):
        Scattering(**bad)


@pytest.fixture
def pictures() -> Features:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(50) % 2
    x = torch.rand(50, 1, 8, 8, generator=generator)
    x[y == 1, :, ::2] *= 0.2
    return Features(x, y)


@pytest.mark.parametrize("layer", [None, "0", "2.0"])
def test_features_are_those_of_the_layer_in_order(pictures: Features, layer: str | None) -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Sequential(nn.Linear(72, 4), nn.Tanh())).eval()
    found = extract_features(net, pictures, layer=layer, batch_size=7)
    with torch.no_grad():
        x = net[0](pictures.x)
        expected = {"0": x, "2.0": net[2][0](net[1](x)), None: net(pictures.x)}[layer]
    torch.testing.assert_close(found.x, expected)
    assert torch.equal(found.y, pictures.y)
    assert not any(module._forward_hooks for module in net.modules())


def test_features_are_not_what_a_later_layer_makes_of_them_in_place(pictures: Features) -> None:
    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.relu = nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"out": self.relu(self.first(x.sub_(0.5)))}

    net = Packed().eval()
    before = pictures.x.clone()
    with torch.no_grad():
        expected = net.first(pictures.x - 0.5)
    torch.testing.assert_close(extract_features(net, pictures, layer="first").x, expected)
    torch.testing.assert_close(extract_features(net, pictures).x, expected.relu())
    assert torch.equal(pictures.x, before)


def test_a_net_in_training_or_without_the_layer_is_refused(pictures: Features) -> None:
    with pytest.raises(ModelError, match=r"expected net.eval\(\)"):
        extract_features(nn.Linear(64, 2), pictures)
    with pytest.raises(ModelError, match="got the layer 'third'; expected one of 0"):
        extract_features(nn.Sequential(nn.Flatten()).eval(), pictures, layer="third")


def test_a_private_linear_layer_on_features_learns(pictures: Features) -> None:
    features = extract_features(Scattering(8).eval(), pictures)
    head = nn.Sequential(nn.GroupNorm(27, 81, affine=False), nn.Flatten(), nn.Linear(324, 2))
    spent = fit(head, features, PrivatePlan(1.0, 0.1, 25, 60, learning_rate=4.0, ema_decay=0.9), seed=0)
    assert spent.epsilon < math.inf
    assert (head(features.x).argmax(1) == features.y).float().mean() > 0.95
