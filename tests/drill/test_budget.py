"""Sharing out the time: nothing is cut that fits, cheap steps stay whole, and what is no use is dropped."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quintain.drill.budget import ESSENTIAL, Amount, Demand, allot, cuts, scale_workload
from quintain.drill.settings import FULL

WORK = replace(FULL, plain_epochs=30, certified_epochs=40, rounds=6, test_examples=1000, train_examples=8000)
PLAIN = Amount("plain_epochs", "epochs of plain training", 3)
CERTIFIED = Amount("certified_epochs", "epochs of certified training", 8)
ROUNDS = Amount("rounds", "rounds", 2)
TRAIN = Amount("train_examples", "training examples", 500)
SHARED = (Amount("test_examples", "test examples", 100), TRAIN)


def demand(amount, unit, *, needs=(), weight=1.0):
    """A step whose time is ``unit`` seconds for each of its amount."""
    return Demand(
        amount.field, (amount,), lambda work: unit * getattr(work, amount.field), needs=needs, weight=weight
    )


def test_nothing_is_cut_that_fits():
    found = allot([demand(PLAIN, 1.0), demand(CERTIFIED, 1.0)], WORK, 70.0, shared=SHARED)
    assert (found.workload, found.dropped, found.seconds) == (WORK, {}, 70.0)


def test_examples_are_not_cut_where_all_fits_though_nothing_else_can_be_cut():
    check = Demand("check", (), lambda work: 0.01 * work.train_examples)
    assert allot([check], WORK, 81.0, shared=SHARED).workload == WORK
    assert allot([check], WORK, 79.0, shared=SHARED).workload.train_examples == 4000


def test_a_cheap_step_stays_whole_and_what_it_leaves_goes_to_the_others():
    found = allot([demand(PLAIN, 0.1), demand(CERTIFIED, 10.0)], WORK, 203.0)
    assert found.workload.plain_epochs == 30
    assert found.workload.certified_epochs == 20
    assert found.seconds == 203.0


def test_a_step_of_more_weight_gets_more():
    steps = [demand(PLAIN, 10.0, weight=3.0), demand(CERTIFIED, 7.5)]
    found = allot(steps, WORK, 320.0).workload
    assert (found.plain_epochs * 10, found.certified_epochs * 7.5) == (240, 75)


def test_steps_of_the_same_amount_are_cut_together_and_what_that_saves_goes_to_the_others():
    """As private training and its audit, which take as many steps."""
    train, audit = demand(PLAIN, 1.0), replace(demand(PLAIN, 3.0), step="audit")
    found = allot([train, audit, demand(CERTIFIED, 1.0)], WORK, 105.0)
    assert (found.workload.plain_epochs, found.workload.certified_epochs) == (17, 35)
    assert found.seconds == 17 * 4 + 35 <= 105


def test_a_step_that_does_not_fit_at_its_floor_is_dropped_and_its_time_goes_to_the_others():
    found = allot([demand(PLAIN, 1.0), demand(CERTIFIED, 100.0)], WORK, 60.0)
    assert found.dropped == {"certified_epochs": 800.0}
    assert found.workload.plain_epochs == 30


def test_a_step_that_others_need_is_dropped_after_them():
    found = allot([demand(PLAIN, 100.0), demand(CERTIFIED, 1.0, needs=("plain_epochs",))], WORK, 200.0)
    assert list(found.dropped) == ["certified_epochs", "plain_epochs"]


def test_where_not_all_fits_the_step_that_is_worth_least_is_dropped_though_another_takes_longer():
    attack, rounds = replace(demand(CERTIFIED, 10.0), worth=2), replace(demand(ROUNDS, 20.0), worth=1)
    found = allot([attack, rounds], WORK, 100.0)
    assert found.dropped == {"rounds": 40.0}
    assert found.workload.certified_epochs == 10


def test_a_step_that_fits_beside_worthier_ones_is_done_where_a_worthier_one_is_too_long():
    steps = [
        replace(demand(one, unit), worth=worth)
        for one, unit, worth in ((CERTIFIED, 100.0, 3), (PLAIN, 1.0, 2), (ROUNDS, 1.0, 1))
    ]
    assert allot(steps, WORK, 60.0).dropped == {"certified_epochs": 800.0}


def test_a_step_that_a_worthy_one_needs_is_worth_as_much():
    steps = [
        demand(PLAIN, 10.0),
        replace(demand(ROUNDS, 20.0), worth=1),
        replace(demand(CERTIFIED, 1.0, needs=("plain_epochs",)), worth=2),
    ]
    assert list(allot(steps, WORK, 60.0).dropped) == ["rounds"]


@pytest.mark.parametrize(("worth", "examples"), [(ESSENTIAL, 50), (ESSENTIAL - 1, 100)])
def test_examples_are_cut_below_what_is_good_for_an_essential_step_alone(worth, examples):
    attack = Demand("attack", (), lambda work: 1.0 * work.test_examples, worth=worth)
    last = (Amount("test_examples", "test examples", 25),)
    found = allot([attack], WORK, 70.0, shared=SHARED, last=last)
    assert found.dropped == ({} if worth == ESSENTIAL else {"attack": 100.0})
    if not found.dropped:
        assert found.workload.test_examples == examples


def test_shared_amounts_are_halved_only_where_floors_need_it():
    per_example = Demand("train", (PLAIN,), lambda work: 0.001 * work.plain_epochs * work.train_examples)
    roomy = allot([per_example], WORK, 60.0, shared=SHARED).workload
    assert (roomy.train_examples, roomy.test_examples, roomy.plain_epochs) == (8000, 1000, 7)
    tight = allot([per_example], WORK, 15.0, shared=SHARED).workload
    assert (tight.train_examples, tight.test_examples, tight.plain_epochs) == (2000, 1000, 7)


def test_examples_are_not_cut_for_a_step_that_takes_long_whatever_they_are():
    train = Demand("train", (PLAIN,), lambda work: 0.001 * work.plain_epochs * work.train_examples)
    fixed = Demand("membership", (), lambda _work: 100.0)
    assert allot([train], WORK, 60.0, shared=SHARED).workload.train_examples == 8000
    found = allot([train, fixed], WORK, 160.0, shared=SHARED)
    assert (found.workload.train_examples, found.dropped) == (8000, {})
    assert allot([train, fixed], WORK, 120.0, shared=SHARED).workload.train_examples == 2000


def test_what_kept_steps_do_not_use_stays_as_small_as_the_dropped_ones_need_it():
    attack = Demand("attack", (), lambda work: 0.01 * work.test_examples, worth=7)
    train = Demand("train", (PLAIN,), lambda work: 0.1 * work.plain_epochs * work.train_examples, worth=1)
    found = allot([attack, train], WORK, 60.0, shared=SHARED)
    assert list(found.dropped) == ["train"]
    assert (found.workload.test_examples, found.workload.train_examples) == (1000, 500)


def test_shared_amounts_stay_small_where_an_essential_step_waits_for_time():
    check = Demand("check", (), lambda work: 0.01 * work.test_examples, worth=ESSENTIAL)
    attack = Demand("attack", (), lambda work: 1.0 * work.test_examples, worth=ESSENTIAL)
    last = (Amount("test_examples", "test examples", 25),)
    found = allot([check, attack], WORK, 20.0, shared=SHARED, last=last)
    assert list(found.dropped) == ["attack"]
    assert found.workload.test_examples == 25


def test_an_essential_step_is_done_with_less_than_is_good_for_it_rather_than_not_at_all():
    queries = Amount("black_box_queries", "queries", 1_000, 100)
    attack = Demand("attack", (queries,), lambda work: 0.1 * work.black_box_queries, worth=ESSENTIAL)
    found = allot([attack], WORK, 50.0)
    assert (found.dropped, found.workload.black_box_queries) == ({}, 500)
    assert allot([attack], WORK, 200.0).workload.black_box_queries == 2_000
    assert list(allot([replace(attack, worth=ESSENTIAL - 1)], WORK, 50.0).dropped) == ["attack"]


def test_a_training_is_not_cut_below_a_number_of_gradient_steps_which_follows_from_the_examples():
    training = Amount("plain_epochs", "epochs of plain training", 3, batch_size=128)
    assert training.least(WORK) == 3  # of 63 steps each
    few = replace(WORK, train_examples=1_100)
    assert training.least(few) == 12  # of 9 steps each
    assert scale_workload(few, [training], 0.0).plain_epochs == 12
    assert scale_workload(replace(few, plain_epochs=5), [training], 0.0).plain_epochs == 5


@pytest.mark.parametrize(
    ("seconds", "models", "epochs"), [(90.0, 3, 30), (36.0, 3, 12), (35.0, 2, 17), (13.0, 1, 13)]
)
def test_fewer_models_are_hardened_where_the_floors_of_all_do_not_fit(seconds, models, epochs):
    few = replace(WORK, train_examples=1_100)
    training = Amount("plain_epochs", "epochs", 3, batch_size=128)
    count = Amount("hardened_models", "models with a defense, at most", 3, fewest=1)
    harden = Demand(
        "harden", (training, count), lambda work: 1.0 * work.plain_epochs * work.hardened_models, worth=5
    )
    found = allot([harden], few, seconds)
    assert found.dropped == {}
    assert (found.workload.hardened_models, found.workload.plain_epochs) == (models, epochs)
    assert list(allot([harden], few, 11.0).dropped) == ["harden"]


@pytest.mark.parametrize(
    ("seconds", "bounds", "epochs"),
    [(200.0, 90, 30), (100.0, 70, 30), (71.0, 41, 30), (70.0, 40, 30), (50.0, 25, 25)],
)
def test_more_than_enough_is_done_with_the_time_that_no_other_work_needs(seconds, bounds, epochs):
    spare = Amount("bound_seconds", "seconds of linear bounds", 5, enough=40)
    found = allot([demand(PLAIN, 1.0), demand(spare, 1.0)], WORK, seconds)
    assert (found.workload.bound_seconds, found.workload.plain_epochs) == (bounds, epochs)
    assert found.seconds == bounds + epochs <= seconds
    assert found.dropped == {}


def test_a_full_amount_below_its_floor_stays_as_it_is():
    few = replace(WORK, rounds=1)
    assert scale_workload(few, [ROUNDS], 0.0) == few
    assert cuts("federate", [ROUNDS], few, scale_workload(few, [ROUNDS], 0.0)) == ()


def test_a_cut_says_what_was_cut_in_words():
    (cut,) = cuts("harden", [CERTIFIED], WORK, replace(WORK, certified_epochs=14))
    assert str(cut) == "40 -> 14 epochs of certified training"


@given(
    units=st.lists(st.floats(0.001, 50.0), min_size=3, max_size=3),
    seconds=st.floats(0.0, 2_000.0),
    weights=st.lists(st.sampled_from([1.0, 3.0]), min_size=3, max_size=3),
)
def test_what_is_allotted_fits_or_everything_is_dropped(units, seconds, weights):
    amounts = (PLAIN, CERTIFIED, ROUNDS)
    steps = [
        demand(one, unit, weight=weight) for one, unit, weight in zip(amounts, units, weights, strict=True)
    ]
    found = allot(steps, WORK, seconds, shared=SHARED)
    assert found.seconds <= seconds * (1 + 1e-9) + 1e-9 or len(found.dropped) == 3
    for amount in amounts:
        size = getattr(found.workload, amount.field)
        assert amount.floor <= size <= getattr(WORK, amount.field)


@pytest.mark.parametrize("seconds", [60.0, 100.0, 150.0, 400.0])
def test_more_time_never_means_less_work(seconds):
    steps = [demand(PLAIN, 3.0), demand(CERTIFIED, 5.0), demand(ROUNDS, 1.0)]
    less, more = (allot(steps, WORK, time).workload for time in (seconds, 2 * seconds))
    for amount in (PLAIN, CERTIFIED, ROUNDS):
        assert getattr(less, amount.field) <= getattr(more, amount.field)
