import pytest
import torch
from torch import Tensor

from quintain.attacks import SparseRS
from quintain.attacks.score_based._sparse_rs_areas import propose_colors, propose_position
from quintain.attacks.score_based._sparse_rs_pixels import pick_distinct, swap_entries
from quintain.attacks.score_based.windows import sparse_rs_schedule
from quintain.core.errors import SettingError
from quintain.testing import batch_invariant_net, random_inputs
from quintain.threats import L0, ExampleRNG, Mask, Patch
from quintain.threats.shapes import shape_mask
from tests.attacks.score_based.recording import Recorder, zeros


def test_the_share_falls_as_published_at_ten_thousand_questions() -> None:
    moments = [0, 1, 51, 201, 501, 1001, 2001, 4001, 6001, 8001]
    assert [round(1 / sparse_rs_schedule(1.0, moment / 10_000)) for moment in moments] == [
        1,
        2,
        4,
        5,
        6,
        8,
        10,
        12,
        15,
        20,
    ]
    assert [round(1 / sparse_rs_schedule(1.0, (moment - 1) / 10_000)) for moment in moments[1:]] == [
        1,
        2,
        4,
        5,
        6,
        8,
        10,
        12,
        15,
    ]


def test_places_of_strata_differ_and_reach_both_ends() -> None:
    for count in (1, 3, 7):
        places = pick_distinct(torch.rand(500, count, generator=torch.Generator().manual_seed(count)), 4, 11)
        assert (places.sort(1).values.diff(dim=1) > 0).all()
        assert int(places.amin()) == 4
        assert int(places.amax()) == 10
    assert pick_distinct(torch.ones(1, 2), 4, 11)[0, 1] == 10


def test_an_exchange_keeps_every_pixel() -> None:
    order = torch.arange(6).repeat(2, 1)
    new = swap_entries(order, torch.tensor([[0, 1], [1, 0]]), torch.tensor([[5, 3], [2, 4]]))
    assert new.tolist() == [[5, 3, 2, 1, 4, 0], [4, 2, 1, 3, 0, 5]]


@pytest.mark.parametrize("channels", [1, 3])
def test_every_question_changes_as_many_pixels_each_to_a_corner_and_to_another_color(channels: int) -> None:
    model, x = Recorder(), random_inputs(4, channels, 5, 6, dtype=torch.float32)
    outcome = SparseRS(queries=60)(model, x, zeros(4), L0(7.0))
    assert outcome.forwards.tolist() == [61] * 4
    asked = torch.stack(model.asked[1:])
    changed = (asked != x).any(2)
    assert (changed.flatten(2).sum(2) == 7).all()
    colors = asked.movedim(2, -1)[changed]
    assert ((colors == 0) | (colors == 1)).all()
    exchanges = (changed[1:] & ~changed[0]).flatten(2).sum(2)
    assert (exchanges[-1] == 1).all()
    assert not torch.equal(changed[0, 0], changed[0, 1])


def test_more_pixels_than_there_are_means_all_of_them() -> None:
    model, x = Recorder(), random_inputs(2, 1, 2, 2)
    SparseRS(queries=20)(model, x, zeros(2), L0(9.0))
    assert all((z != x).all() for z in model.asked[1:])


def with_another_pixel(image: Tensor, kept: Tensor) -> Tensor:
    """All points (n, 12) that differ from an image (12,) as ``kept`` does, and in one more pixel, which is
    black or white.
    """
    pixels = (kept == image).nonzero().squeeze(1)
    others = kept.repeat(2 * len(pixels), 1)
    others[torch.arange(len(others)), pixels.repeat(2)] = torch.tensor(
        [0.0, 1.0], dtype=image.dtype
    ).repeat_interleave(len(pixels))
    return others


@pytest.mark.parametrize(
    ("pixels", "seed"),
    [
        (1, 0),
        (2, 1),
        pytest.param(1, 1, marks=pytest.mark.exhaustive),
        pytest.param(2, 0, marks=pytest.mark.exhaustive),
    ],
)
def test_no_other_pixel_in_the_place_of_one_does_better(pixels: int, seed: int) -> None:
    """One pixel is the best of all; of two, each is the best beside the other: a query meets each of the 40
    or fewer exchanges with a probability of at least 1 / 40, and so misses one in the last 500 of them with
    less than 4e-6 an exchange."""
    x = random_inputs(6, 1, 4, 3, seed=3)
    model = batch_invariant_net(12, 2, seed=5, lead=30.0)
    lead = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    outcome = SparseRS(queries=1000)(model, x, zeros(6), L0(float(pixels)), seed=seed)
    for image, found in zip(x.flatten(1), outcome.adversarial.flatten(1), strict=True):
        changed = (found != image).nonzero().squeeze(1)
        assert len(changed) == pixels
        for pixel in changed:
            kept = found.clone()
            kept[pixel] = image[pixel]
            assert (
                float(model(found[None]) @ lead)
                >= float((model(with_another_pixel(image, kept)) @ lead).max()) - 1e-9
            )


# --- stickers and shapes
# -------------------------------------------------------------------------------------------------------


def params_of(threat: Patch, model: Recorder, x: Tensor) -> tuple[Tensor, Tensor]:
    """Where the image was changed (queries, height, width), and what was shown."""
    asked = torch.stack(model.asked[1:])
    return (asked != x).any(2)[:, 0], asked[:, 0]


def test_a_sticker_moves_every_fourth_question_and_is_recolored_at_the_others() -> None:
    threat, model, x = Patch(area=0.1), Recorder(), torch.full((1, 3, 12, 12), 0.5)
    SparseRS(queries=41)(model, x, zeros(1), threat)
    changed, shown = params_of(threat, model, x)
    assert (changed.flatten(1).sum(1) == 9).all()
    for question in range(1, 41):
        moved = not torch.equal(changed[question], changed[0])
        assert not moved or question % 4 == 0
        assert moved or question % 4 != 0 or torch.equal(shown[question], shown[0])
        assert question % 4 == 0 or not torch.equal(shown[question], shown[0])
    colors = shown.movedim(1, -1)[changed]
    assert ((colors == 0) | (colors == 1)).all()


def test_a_fixed_sticker_stays_where_it_is() -> None:
    model, x = Recorder(), torch.full((2, 1, 8, 8), 0.5)
    SparseRS(queries=30)(model, x, zeros(2), Patch(area=0.1, position=(0.5, 0.5)))
    asked = torch.stack(model.asked[1:])
    assert torch.equal((asked != x), (asked[:1] != x).expand_as(asked))


def test_at_the_end_single_values_are_turned_round() -> None:
    old = torch.randint(0, 2, (50, 3, 4, 4), generator=torch.Generator().manual_seed(0)).float()
    numbers = torch.rand(50, 7, generator=torch.Generator().manual_seed(1))
    new = propose_colors(old, torch.zeros(4, 4), torch.ones(4, 4), 0.01, torch.arange(16), numbers)
    assert ((new != old).flatten(1).sum(1) == 1).all()
    assert len((new != old).nonzero()[:, 1:].unique(dim=0)) > 20


def test_a_window_holds_a_spot_and_touches_nothing_that_cannot_move() -> None:
    there = shape_mask("border", 10, 10)
    x = torch.full((200, 1, 10, 10), 0.5)
    low, high = torch.where(there, 0.0, x), torch.where(there, 1.0, x)
    z = low.clone()
    for turn, share in enumerate((0.5, 0.1, 0.01)):
        numbers = torch.rand(200, 5, generator=torch.Generator().manual_seed(turn))
        new = propose_colors(z, low, high, share, there.flatten().nonzero().squeeze(1), numbers)
        assert (new != z).flatten(1).any(1).all()
        assert torch.equal(new[:, :, ~there], x[:, :, ~there])
        assert (new != z).any(0)[0][there].all()


def test_a_shape_is_at_the_ends_of_its_range() -> None:
    model, x = Recorder(), torch.full((2, 1, 10, 12), 0.5)
    SparseRS(queries=30)(model, x, zeros(2), Mask("border", 0.25))
    for z in model.asked[1:]:
        inside = shape_mask("border", 10, 12)
        assert ((z[:, :, inside] == 0.25) | (z[:, :, inside] == 0.75)).all()
        assert (z[:, :, ~inside] == 0.5).all()


@pytest.mark.parametrize("progress", [0.0, 0.5, 1.0])
def test_a_sticker_goes_no_farther_than_its_reach_and_stays_on_the_picture(progress: float) -> None:
    corner = torch.tensor([[4, 4]]).repeat(400, 1)
    new = propose_position(
        corner, progress, (3, 3), (12, 12), torch.rand(400, 2, generator=torch.Generator().manual_seed(0))
    )
    reach = max(1, int(9 * (1 - progress)))
    assert (new != corner).any(1).all()
    assert ((new - corner).abs() <= reach).all()
    assert ((new >= 0) & (new <= 9)).all()
    assert len(new.unique(dim=0)) >= 8


def test_questions_of_sparse_rs_must_be_positive() -> None:
    with pytest.raises(SettingError, match="expected at least 1"):
        SparseRS(queries=0)


def test_the_streams_of_two_examples_are_their_own() -> None:
    x = torch.full((2, 1, 8, 8), 0.5)
    model = Recorder()
    SparseRS(queries=5)(model, x, zeros(2), Patch(area=0.1))
    assert not torch.equal(model.asked[1][0], model.asked[1][1])
    assert ExampleRNG(0, torch.arange(2)).uniform(torch.empty(2, 1)).unique().numel() == 2
