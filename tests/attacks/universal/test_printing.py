import math

import pytest
import torch
from scipy.ndimage import gaussian_filter

from quintain.attacks.universal.printing import (
    Printing,
    gaussian_blur,
    non_printability,
    palette,
    simulate_print,
    total_variation,
)
from quintain.core.errors import SettingError
from quintain.models.preprocessing.jpeg import JPEG
from quintain.threats.rng import ExampleRNG

PICTURES = torch.rand(6, 3, 20, 24, generator=torch.Generator().manual_seed(0))
STREAMS = ExampleRNG(0, torch.arange(6))


def test_a_print_is_paper_at_most_and_ink_at_least_and_colors_are_grayed() -> None:
    white, black, red = torch.ones(3, 1, 1), torch.zeros(3, 1, 1), torch.tensor([1.0, 0, 0]).view(3, 1, 1)
    assert simulate_print(white).flatten().tolist() == pytest.approx([0.92] * 3)
    assert simulate_print(black).flatten().tolist() == pytest.approx([0.06] * 3)
    assert simulate_print(red)[0] < 0.92
    assert simulate_print(red)[1] > 0.06
    gray = torch.full((1, 1, 1), 0.5)
    assert simulate_print(gray).item() == pytest.approx(0.06 + 0.86 / 2)


def test_each_example_has_a_printer_of_its_own_whatever_the_batch() -> None:
    printing = Printing()
    printed, photo = printing.print_colors(PICTURES, STREAMS), printing.photograph(PICTURES, STREAMS)
    rows = torch.tensor([4, 1])
    torch.testing.assert_close(
        printing.print_colors(PICTURES[rows], STREAMS.select(rows)), printed[rows], rtol=0, atol=0
    )
    torch.testing.assert_close(
        printing.photograph(PICTURES[rows], STREAMS.select(rows)), photo[rows], rtol=0, atol=0.02
    )
    assert (
        len({float(one[0, 0, 0]) for one in printing.print_colors(torch.zeros_like(PICTURES), STREAMS)}) == 6
    )
    assert ((photo >= 0) & (photo <= 1)).all()


def test_blur_is_a_gaussian_of_each_examples_own_width() -> None:
    sigma = torch.tensor([0.3, 0.6, 0.9, 1.2, 1.5, 0.0])
    ours = gaussian_blur(PICTURES.double(), sigma.double(), 5)
    for picture, width, ourselves in zip(PICTURES.double(), sigma.tolist(), ours, strict=True):
        other = (
            picture
            if not width
            else torch.from_numpy(
                gaussian_filter(picture.numpy(), (0, width, width), mode="nearest", radius=5)
            )
        )
        torch.testing.assert_close(ourselves, other)


def test_compression_is_exact_and_passes_gradients_on() -> None:
    printing = Printing(blur=0.0, noise=0.0)
    x = PICTURES.clone().requires_grad_()
    photo = printing.photograph(x, STREAMS)
    for picture, one in zip(PICTURES, photo.detach(), strict=True):
        assert any(
            torch.allclose(JPEG(quality)(picture[None])[0], one, atol=1e-6)
            for quality in (50, 60, 70, 80, 90)
        )
    weights = torch.rand(x.shape, generator=torch.Generator().manual_seed(1))
    assert torch.equal(torch.autograd.grad((weights * photo).sum(), x)[0], weights)


def test_without_a_camera_nothing_changes() -> None:
    assert torch.equal(
        Printing(blur=0.0, noise=0.0, compressed=False).photograph(PICTURES, STREAMS), PICTURES
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_printable_scores_nothing(channels: int) -> None:
    colors = palette(channels)
    assert ((colors >= 0.06 - 1e-6) & (colors <= 0.92 + 1e-6)).all()
    picture = colors[:20].T.reshape(channels, 4, 5)
    assert non_printability(picture, colors) < 1e-6


def test_the_score_is_the_mean_distance_to_the_nearest_color() -> None:
    colors, picture = palette(3)[::7], PICTURES[0]
    distances = [
        min(math.dist(pixel, color) for color in colors.tolist()) for pixel in picture.flatten(1).T.tolist()
    ]
    assert non_printability(picture, colors) == pytest.approx(sum(distances) / len(distances), rel=1e-5)
    alpha = torch.zeros(1, 20, 24)
    alpha[:, :3] = 1
    assert non_printability(picture, colors, alpha) == pytest.approx(
        sum(distances[: 3 * 24]) / (3 * 24), rel=1e-5
    )


def test_the_product_underflows_where_the_minimum_leads_on() -> None:
    colors = palette(3)
    picture = torch.full((3, 4, 4), 0.53, requires_grad=True)
    (gradient,) = torch.autograd.grad(non_printability(picture, colors), picture)
    assert gradient.abs().max() > 1e-3
    product = torch.cdist(picture.flatten(1).T, colors).prod(1).sum()
    assert torch.autograd.grad(product, picture)[0].abs().max() < 1e-10


def test_total_variation_counts_steps() -> None:
    step = torch.zeros(1, 5, 5)
    step[:, :, 2:] = 1
    assert total_variation(step) == pytest.approx(4 / 16, abs=2e-4)
    assert total_variation(torch.full((3, 5, 5), 0.3)) < 2e-4


@pytest.mark.parametrize("wrong", [{"gamut": 0.07}, {"blur": -0.1}, {"noise": math.inf}])
def test_a_printer_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingError, match=next(iter(wrong))):
        Printing(**wrong)


def test_colors_are_known_for_gray_and_rgb_alone() -> None:
    with pytest.raises(SettingError, match="4 channels"):
        palette(4)
