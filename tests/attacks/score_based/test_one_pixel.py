from itertools import product

import pytest
import torch
from torch import Tensor

from quintain.attacks import OnePixel
from quintain.attacks.score_based.one_pixel import paint_pixels, parents
from quintain.core.errors import SettingError
from quintain.testing import batch_invariant_net, random_inputs
from quintain.threats import L0, ExampleRNG
from tests.attacks.score_based.recording import Recorder, zeros


def changed_once(image: Tensor) -> Tensor:
    """Every image that differs in one pixel, which is at a corner of the color cube."""
    channels, height, width = image.shape
    images = []
    for i, j, *corner in product(range(height), range(width), *([(0.0, 1.0)] * channels)):
        other = image.clone()
        other[:, i, j] = torch.tensor(corner, dtype=image.dtype)
        images.append(other)
    return torch.stack(images)


@pytest.mark.parametrize("channels", [1, 2])
def test_what_any_extreme_pixel_breaks_is_broken_and_nothing_is_asked_in_vain(channels: int) -> None:
    x = random_inputs(40, channels, 4, 3, seed=1)
    model = batch_invariant_net(12 * channels, 3, seed=7)
    y = model(x).argmax(1)
    outcome = OnePixel()(model, x, y, L0(1.0))
    every = [changed_once(image) for image in x]
    breakable = torch.tensor(
        [bool((model(images).argmax(1) != label).any()) for images, label in zip(every, y, strict=True)]
    )
    assert breakable.any()
    assert not breakable.all()
    assert torch.equal(outcome.success, breakable)
    real = torch.tensor(
        [int((images != image).flatten(1).any(1).sum()) for images, image in zip(every, x, strict=True)]
    )
    assert torch.equal(outcome.forwards[~outcome.success], 1 + real[~outcome.success])


def test_the_best_pixel_is_kept_where_none_breaks() -> None:
    x = random_inputs(10, 1, 3, 3)
    model = batch_invariant_net(9, 2, seed=1, lead=40.0)
    outcome = OnePixel()(model, x, zeros(10), L0(1.0))
    reach = torch.stack(
        [(model(changed_once(image)) @ torch.tensor([-1.0, 1.0]).double()).amax() for image in x]
    )
    assert torch.allclose(
        model(outcome.adversarial) @ torch.tensor([-1.0, 1.0]).double(),
        torch.maximum(reach, model(x) @ torch.tensor([-1.0, 1.0]).double()),
    )


def test_pixels_are_painted_with_all_their_channels_and_stay_in_the_box() -> None:
    x = torch.zeros(2, 3, 4, 5)
    genes = torch.tensor([[[0.0, 0.0, 0.1, 0.2, 0.3]], [[1.0, 1.0, 1.0, 0.5, 0.0]]])
    z = paint_pixels(x, genes, (-1.0, 2.0))
    assert torch.allclose(z[0, :, 0, 0], torch.tensor([-0.7, -0.4, -0.1]))
    assert torch.allclose(z[1, :, 3, 4], torch.tensor([2.0, 0.5, -1.0]))
    assert int((z != x).any(1).sum()) == 2


def test_the_parents_of_a_candidate_are_three_and_every_triple_occurs() -> None:
    rows = torch.arange(300)
    one, two, three = parents(ExampleRNG(0, rows), 4, rows)
    assert ((one != two) & (two != three) & (one != three)).all()
    assert len({*zip(*(part.flatten().tolist() for part in (one, two, three)), strict=True)}) == 24


def test_evolution_is_used_where_it_asks_less_and_finds_an_extreme_color_in_between() -> None:
    def hidden(z: Tensor) -> Tensor:
        gray = (z.flatten(1) - 0.4).abs().amin(1)
        return torch.stack((torch.zeros_like(gray), 0.02 - gray), 1)

    x = torch.ones(4, 1, 6, 6)
    assert not OnePixel()(hidden, x, zeros(4), L0(1.0)).success.any()
    outcome = OnePixel(population=12, generations=4)(hidden, x, zeros(4), L0(1.0))
    assert outcome.success.all()
    assert ((outcome.adversarial != x).flatten(1).sum(1) == 1).all()


def test_evolution_asks_as_published_and_keeps_to_a_budget() -> None:
    x = torch.full((2, 1, 6, 6), 0.5)
    assert OnePixel(population=10, generations=4)(Recorder(), x, zeros(2), L0(2.0)).forwards.tolist() == [
        51,
        51,
    ]
    assert OnePixel(population=10, generations=4)(
        Recorder(), x, zeros(2), L0(2.0), max_queries=26
    ).forwards.tolist() == [21, 21]


def test_a_break_ends_the_enumeration() -> None:
    x = torch.full((1, 1, 20, 20), 0.5)
    outcome = OnePixel()(
        lambda z: torch.stack(((z == 0.5).flatten(1).all(1).float(), torch.full((len(z),), 0.5)), 1),
        x,
        zeros(1),
        L0(1.0),
    )
    assert outcome.success.all()
    assert int(outcome.forwards) <= 1 + 64 + 1


def test_settings_of_evolution_out_of_range_are_refused() -> None:
    for settings in ({"population": 3}, {"generations": -1}, {"differential_weight": 0.0}):
        with pytest.raises(SettingError, match="expected"):
            OnePixel(**settings)
