import math
from itertools import product

import pytest
import torch

from quintain.attacks import Square
from quintain.attacks.score_based._square_l2 import bumps, initial_tiles, propose_l2, pyramid, two_lobes
from quintain.attacks.score_based.square import HALVINGS, propose_linf
from quintain.attacks.score_based.windows import (
    image_dims,
    random_extremes,
    square_schedule,
    window_pixels,
    window_shape,
)
from quintain.core.errors import SettingError
from quintain.testing import batch_invariant_net, random_inputs
from quintain.threats import L2, ExampleRNG, Linf, contains
from tests.attacks.score_based.recording import Recorder, zeros


def test_the_window_is_halved_as_published_at_ten_thousand_questions() -> None:
    moments = [
        question
        for question in range(1, 10_000)
        if square_schedule(1, question / 10_000, HALVINGS)
        != square_schedule(1, (question - 1) / 10_000, HALVINGS)
    ]
    assert moments == [11, 51, 201, 501, 1001, 2001, 4001, 6001, 8001]
    assert square_schedule(0.8, 0.9999, HALVINGS) == 0.8 / 512


def test_a_short_run_ends_with_windows_as_small_as_a_long_one() -> None:
    assert window_shape(square_schedule(0.8, 499 / 500, HALVINGS), 28, 28) == (1, 1)
    assert window_shape(square_schedule(0.8, 1 / 500, HALVINGS), 28, 28) == (18, 18)


@pytest.mark.parametrize(("height", "width"), [(28, 28), (3, 9), (9, 3), (1, 7), (1, 1)])
@pytest.mark.parametrize("share", [1.0, 0.8, 0.3, 0.05, 1e-9])
def test_a_window_fits_and_covers_about_its_share(share: float, height: int, width: int) -> None:
    tall, wide = window_shape(share, height, width)
    assert 1 <= tall <= height
    assert 1 <= wide <= width
    assert abs(tall * wide - share * height * width) <= max(height, width) or tall * wide == 1


@pytest.mark.parametrize(("tall", "wide"), [(1, 1), (2, 2), (4, 5), (3, 1)])
def test_every_place_is_as_likely_the_last_row_and_column_included(tall: int, wide: int) -> None:
    height, width = 4, 5
    down, across = height - tall + 1, width - wide + 1
    steps = [torch.arange(count * 8, dtype=torch.float32).add(0.5) / (count * 8) for count in (down, across)]
    windows = window_pixels(torch.cartesian_prod(*steps), tall, wide, height, width)
    places, counts = windows.unique(dim=0, return_counts=True)
    wanted = {
        tuple((top + i) * width + left + j for i, j in product(range(tall), range(wide)))
        for top, left in product(range(down), range(across))
    }
    assert {tuple(place) for place in places.tolist()} == wanted
    assert (counts == 64).all()
    assert int(window_pixels(torch.ones(1, 2), tall, wide, height, width).amax()) == height * width - 1


def test_a_proposal_always_changes_something() -> None:
    x = random_inputs(50, 3, 4, 5, dtype=torch.float32)
    low, high = Linf(0.2).bounds(x)
    z = torch.where(torch.rand(50, 3, 1, 1, generator=torch.Generator().manual_seed(0)) < 0.5, low, high)
    for turn in range(30):
        new = propose_linf(
            0.3 / (turn + 1), z, low, high, ExampleRNG(turn, torch.arange(50)).uniform(torch.empty(50, 5))
        )
        assert (new != z).flatten(1).any(1).all()
        assert ((new == low) | (new == high)).all()
        z = new


def test_values_that_stay_are_turned_round_together() -> None:
    old = torch.tensor([[[0.0, 0.0], [1.0, 1.0]], [[0.0, 0.0], [1.0, 0.0]]])
    low, high = torch.zeros_like(old), torch.ones_like(old)
    lower = torch.tensor([[[True], [False]], [[True], [False]]])
    assert torch.equal(
        random_extremes(old, lower, low, high, (1, 2))[0], torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    )
    assert torch.equal(
        random_extremes(old, lower, low, high, (1, 2))[1], torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    )


@pytest.mark.parametrize("shape", [(1, 6, 6), (3, 5, 8), (2, 7, 3), (9,)])
def test_every_question_differs_from_the_stripes_by_one_window_of_its_own(shape: tuple[int, ...]) -> None:
    model, x = Recorder(), torch.full((4, *shape), 0.5)
    outcome = Square(queries=40)(model, x, zeros(4), Linf(0.25))
    assert outcome.forwards.tolist() == [41] * 4
    stripes, asked = model.asked[1], torch.stack(model.asked[2:])
    channels, height, width = image_dims(x.shape[1:])
    assert ((stripes == 0.25) | (stripes == 0.75)).all()
    columns = stripes.view(4, channels, height, width)
    assert torch.equal(columns, columns[:, :, :1].expand_as(columns))
    changed = (asked != stripes).flatten(2)
    assert changed.any(2).all()
    assert len({tuple(row.tolist()) for row in changed.flatten(0, 1)}) >= min(20, height * width)
    assert (changed[:, 0] != changed[:, 1]).any()


def test_nothing_can_change_and_nothing_is_asked() -> None:
    for threat in (Linf(0.0), L2(0.0)):
        outcome = Square()(Recorder(), torch.full((3, 1, 4, 4), 0.5), zeros(3), threat)
        assert outcome.forwards.tolist() == [1] * 3


def test_a_budget_is_spent_to_the_last_question_but_one() -> None:
    x = torch.full((2, 1, 4, 4), 0.5)
    assert Square()(Recorder(), x, zeros(2), Linf(0.1), max_queries=30).forwards.tolist() == [29, 29]
    assert Square(queries=10, restarts=2)(Recorder(), x, zeros(2), Linf(0.1)).forwards.tolist() == [21, 21]


def test_a_broken_example_costs_nothing_more() -> None:
    x = random_inputs(30, 1, 4, 4)
    model = batch_invariant_net(16, 3, seed=2)
    outcome = Square(queries=100)(model, x, model(x).argmax(1), Linf(0.1))
    assert outcome.success.any()
    assert not outcome.success.all()
    assert torch.equal(outcome.forwards[outcome.success], outcome.queries_to_success[outcome.success] + 1)
    assert (outcome.forwards[~outcome.success] == 101).all()


@pytest.mark.parametrize(
    "settings", [{"queries": 0}, {"restarts": 0}, {"p_init": 0.0}, {"p_init": 1.5}, {"p_init": math.nan}]
)
def test_settings_out_of_range_are_refused(settings: dict) -> None:
    with pytest.raises(SettingError, match="expected"):
        Square(**settings)


# --- Euclidean
# ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tall", "wide"), [(3, 3), (2, 5), (5, 5), (1, 4), (7, 7)])
def test_a_hill_is_a_pile_of_nested_rectangles(tall: int, wide: int) -> None:
    pile = torch.zeros(tall, wide)
    for ring in range(max(tall, wide) // 2 + 1):
        for i, j in product(range(tall), range(wide)):
            if abs(i - tall // 2) <= ring and abs(j - wide // 2) <= ring:
                pile[i, j] += 1 / (ring + 1) ** 2
    assert torch.allclose(pyramid(tall, wide), pile / pile.norm(), atol=1e-6)


@pytest.mark.parametrize("side", [1, 3, 5, 9])
def test_a_bump_has_two_lobes_of_length_one_and_can_be_transposed(side: int) -> None:
    plain, turned = bumps(side, side, torch.tensor([False, True]))
    assert torch.allclose(plain.norm(), torch.tensor(1.0))
    assert (plain[: side // 2] > 0).all()
    assert (plain[side // 2 :] < 0).all()
    assert torch.equal(turned, plain.T)
    assert torch.equal(two_lobes(2, 5), two_lobes(5, 2).T)


def test_the_start_has_twenty_five_tiles_of_equal_length() -> None:
    x = torch.full((2, 3, 28, 28), 0.5, dtype=torch.float64)
    change = initial_tiles(L2(0.4), x, ExampleRNG(0, torch.arange(2))) - x
    assert torch.allclose(change.flatten(1).norm(dim=1), torch.tensor(0.4, dtype=torch.float64), rtol=1e-5)
    assert (change[:, :, 0] == 0).all()
    assert (change[:, :, -2:] == 0).all()
    lengths = change[:, :, 1:26, 1:26].unfold(2, 5, 5).unfold(3, 5, 5).flatten(4).norm(dim=4)
    assert torch.allclose(lengths, lengths.mean().expand_as(lengths))


def test_one_proposal_is_as_the_formula_says() -> None:
    threat, channels, side = L2(0.9), 2, 7
    x = torch.full((1, channels, side, side), 0.5, dtype=torch.float64)
    generator = torch.Generator().manual_seed(3)
    change = torch.randn(1, channels, side, side, generator=generator, dtype=torch.float64)
    change *= 0.7 / change.norm()
    numbers = torch.tensor([[0.0, 0.0, 0.3, 0.5, 0.9, 0.1, 0.8]])
    moved = propose_l2(threat, 9 / 49, x + change, x, numbers) - x
    first, second = (slice(0, 3), slice(0, 3)), (slice(1, 4), slice(2, 5))
    expected = change.clone()[0]
    unspent = (0.81 - change.square().sum()) / channels
    for channel, sign in enumerate((-1, 1)):
        plane = expected[channel]
        union = torch.zeros(side, side, dtype=torch.bool)
        union[first], union[second] = True, True
        length = (plane[union].square().sum() + unspent).sqrt()
        mixed = sign * two_lobes(3, 3).double() + plane[first] / plane[first].norm()
        plane[second] = 0
        plane[first] = mixed / mixed.norm() * length
    assert torch.allclose(moved[0], expected * 0.9 / expected.norm(), rtol=1e-5)


@pytest.mark.parametrize("shape", [(1, 6, 6), (3, 5, 8), (1, 1, 2), (9,)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_proposals_stay_inside_and_spend_what_the_box_leaves(
    shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    x, threat = random_inputs(8, *shape, dtype=dtype), L2(0.5)
    z = initial_tiles(threat, x, ExampleRNG(0, torch.arange(8)))
    for turn in range(20):
        assert contains(threat, z, x).all()
        z = propose_l2(
            threat,
            0.5 / (turn + 1),
            z,
            x,
            ExampleRNG(turn, torch.arange(8)).uniform(torch.empty(8, 5 + image_dims(x.shape[1:])[0])),
        )
    middle = torch.full((8, *shape), 0.5, dtype=dtype)
    assert (
        threat.measure(initial_tiles(L2(0.3), middle, ExampleRNG(0, torch.arange(8))), middle)
        >= 0.3 * (1 - 1e-5)
    ).all()
