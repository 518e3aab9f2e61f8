from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from quintain.attacks import APGD, PGD, PMA, Goal
from quintain.attacks.gradient._apgd_l1 import sparse_sign_step
from quintain.attacks.gradient.apgd import random_start_on_surface
from quintain.attacks.gradient.apgd_step_size import checkpoints, initial_step_size_state, update_step_size
from quintain.core.errors import SettingError
from quintain.testing import batch_invariant_net, random_inputs
from quintain.threats import L1, L2, ExampleRNG, Linf


def stubborn(classes: int = 3) -> tuple[Callable[[Tensor], Tensor], Tensor, Tensor]:
    net = batch_invariant_net(12, classes, lead=60.0)
    return net, random_inputs(6, 1, 3, 4), torch.zeros(6, dtype=torch.long)


def test_the_published_checkpoints() -> None:
    looks = checkpoints(100)
    assert list(looks) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert list(looks.values()) == [22, 19, 16, 13, 10, 7, 6, 6]
    assert sum(looks.values()) == 99
    assert checkpoints(1) == {1: 1}


def through(values: list[float], windows: dict[int, int]) -> list[float]:
    """The lengths of one example's steps, whose losses are given."""
    pace, lengths = initial_step_size_state(1, torch.zeros(1), 2.0), []
    for step, value in enumerate(values):
        pace, _ = update_step_size(pace, torch.tensor([value]), step, windows.get(step))
        lengths.append(pace.step_size.item())
    return lengths


def test_a_length_is_kept_only_where_more_than_three_quarters_of_the_steps_rose() -> None:
    assert through([0, 1, 2, 3, 4], {4: 4})[-1] == 2
    assert through([0, 1, 2, 3, 2.5], {4: 4})[-1] == 1
    assert through([5, 1, 2, 3, 4, 4.5], {5: 5})[-1] == 2


def test_rises_are_counted_step_on_step_and_not_as_records() -> None:
    rising_below_the_best = [9, 1, 2, 3, 4, 5, 6, 7, 8]
    assert through(rising_below_the_best, {8: 8})[-1] == 2


def test_a_best_loss_that_stands_still_halves_at_the_second_checkpoint_but_not_twice_on_end() -> None:
    values = [9, 1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 6, 2, 3, 4, 5, 6, 7, 3, 4, 5, 6, 7, 8]
    lengths = through(values, {5: 5, 11: 6, 17: 6, 23: 6})
    assert [lengths[at] for at in (5, 11, 17, 23)] == [2, 1, 1, 0.5]


def test_each_example_has_its_own_pace() -> None:
    pace = initial_step_size_state(2, torch.zeros(1), 2.0)
    for step in range(5):
        pace, halve = update_step_size(
            pace, torch.tensor([float(step), -float(step)]), step, {4: 4}.get(step)
        )
    assert halve is not None
    assert halve.tolist() == [False, True]
    assert pace.step_size.tolist() == [2, 1]


@pytest.mark.parametrize("threat", [Linf(0.2), L2(0.5), L1(1.5)])
def test_it_starts_on_the_face(threat: Linf | L2 | L1) -> None:
    x = torch.full((5, 1, 4, 4), 0.5, dtype=torch.float64)
    z = random_start_on_surface(threat, x, ExampleRNG(3, torch.arange(5)), threat.projection_cache(x))
    assert (threat.measure(z, x) <= threat.eps).all()
    assert (threat.measure(z, x) >= threat.eps * (1 - 1e-9)).all()


@pytest.mark.parametrize(
    ("settings", "climbs"), [({}, 1), ({"restarts": 3}, 3), ({"loss": "dlr", "target_classes": 2}, 2)]
)
def test_the_cost_of_an_unbroken_example(settings: dict[str, object], climbs: int) -> None:
    outcome = APGD(steps=10, **settings)(*stubborn(), Linf(0.1))
    assert not outcome.success.any()
    assert outcome.backwards.tolist() == [10 * climbs] * 6
    assert outcome.forwards.tolist() == [1 + 11 * climbs] * 6


def test_without_hope_a_climb_ends_at_the_first_checkpoint() -> None:
    outcome = APGD(steps=100, patience=1.0)(*stubborn(), Linf(0.01))
    assert outcome.backwards.tolist() == [23] * 6
    assert not outcome.error.any()


def test_hope_spares_gradients_and_loses_next_to_nothing_here() -> None:
    x = random_inputs(80, 16, seed=3)
    model = batch_invariant_net(16, 5, seed=5)
    y = model(x).argmax(1)
    whole, short = (
        APGD(loss="dlr", target_classes=4, patience=hope)(model, x, y, Linf(0.06))
        for hope in (float("inf"), 1.0)
    )
    assert (whole.success & ~short.success).sum() <= 1
    assert short.backwards.sum() < whole.backwards.sum() / 2


@pytest.mark.parametrize("classes", [2, 3, 4, 10])
def test_any_number_of_classes_is_served_at_full_strength(classes: int) -> None:
    x = random_inputs(40, 16, seed=3)
    model = batch_invariant_net(16, classes, seed=5)
    y = model(x).argmax(1)
    plain = PGD(steps=50)(model, x, y, Linf(0.05))
    for attack in (
        APGD(50),
        APGD(50, loss="dlr"),
        APGD(50, loss="probability_margin"),
        APGD(50, loss="dlr", target_classes=9),
    ):
        ours = attack(model, x, y, Linf(0.05))
        assert 0 < ours.success.sum() < 40, attack
        assert ours.success.sum() >= plain.success.sum() - 1, attack


def test_guides_are_no_goals_and_targets_replace_them() -> None:
    x = random_inputs(60, 16, seed=3)
    model = batch_invariant_net(16, 4, seed=5)
    y = model(x).argmax(1)
    farthest = model(x).argmin(1)
    guided = APGD(steps=30, loss="dlr", target_classes=3)(model, x, y, Linf(0.15))
    answers = model(guided.adversarial).argmax(1)
    assert (answers[guided.success] != y[guided.success]).all()
    aimed = APGD(steps=30, loss="dlr", target_classes=3)(
        model, x, y, Linf(0.15), targets=torch.where(farthest == y, (y + 1) % 4, farthest)
    )
    assert aimed.success.sum() < guided.success.sum()
    assert (aimed.backwards <= 30).all()


def test_scaled_logits_change_no_verdict() -> None:
    x = random_inputs(50, 16, seed=3)
    model = batch_invariant_net(16, 4, seed=5)
    y = model(x).argmax(1)
    for loss in ("ce", "dlr", "margin"):
        plain, steep_ = (
            APGD(steps=30, loss=loss)(net, x, y, Linf(0.06)) for net in (model, lambda z: 1e3 * model(z))
        )
        assert abs(int(plain.success.sum()) - int(steep_.success.sum())) <= 1


def test_the_margin_of_probabilities_climbs_where_the_plain_one_is_flat() -> None:
    x = random_inputs(30, 16, seed=3).float()
    model = batch_invariant_net(16, 3, seed=5)
    y = model(x.double()).argmax(1)
    outcome = PMA(steps=30)(lambda z: 200 * model(z.double()).float(), x, y, Linf(0.1))
    assert outcome.success.sum() > 10


def test_in_l1_a_step_moves_the_steepest_coordinates_by_equal_amounts() -> None:
    change = sparse_sign_step(
        torch.tensor([[3.0, -2.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]]), torch.tensor([2, 2])
    )
    assert change.tolist() == [[0.5, -0.5, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]


def test_in_l1_the_wider_balls_are_paid_for_and_break_nothing() -> None:
    x = random_inputs(40, 1, 4, 4, seed=3)
    model = batch_invariant_net(16, 3, seed=5)
    y = model(x).argmax(1)
    outcome = APGD(steps=50)(model, x, y, L1(0.5))
    assert (outcome.size[outcome.success] <= 0.5).all()
    assert 0 < outcome.success.sum() < 40
    assert (outcome.backwards[~outcome.success] == 50).all()


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 0},
        {"restarts": 0},
        {"target_classes": -1},
        {"patience": 0.0},
        {"target_classes": 3, "loss": "ce"},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(SettingError, match="expected"):
        APGD(**settings)


def test_an_unknown_loss_is_refused() -> None:
    with pytest.raises(SettingError, match="expected one of margin, ce, dlr, probability"):
        Goal(torch.zeros(1, dtype=torch.long)).loss("hinge")
