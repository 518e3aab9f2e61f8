"""Every registered attack, in every registered ball."""

from dataclasses import replace

import pytest
import torch

from quintain.attacks.outcome import Attack
from quintain.core.registry import entries
from quintain.threats import Ball
from tests.laws.checks_attacks import (
    check_beats_random,
    check_gap,
    check_inside,
    check_metered,
    check_never_worse,
    check_replayable,
    check_split,
    check_untouched,
    inputs,
    invariant_net,
)
from tests.laws.test_balls import BALLS, ball_of

ATTACKS = sorted(entries("attack"))
SIZES = {"linf": 0.1, "l2": 0.6}

every_attack = pytest.mark.parametrize("attack_name", ATTACKS)
every_ball = pytest.mark.parametrize("ball_name", sorted(BALLS))


def attack_of(name: str) -> Attack:
    return entries("attack")[name].load()()


def sized(name: str) -> Ball:
    return replace(ball_of(name), eps=SIZES.get(name, ball_of(name).eps))


def gap_of(attack_name: str, ball_name: str) -> float:
    entry = entries("attack")[attack_name]
    return float(entry.fact(f"gap:{ball_name}") or entry.fact("gap", "0.01"))


@every_attack
@every_ball
@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_outcomes_are_inside_replayable_and_never_worse(attack_name: str, ball_name: str, classes: int, dtype: torch.dtype) -> None:
    x = inputs(9, 4, 4, dtype=dtype)
    model = invariant_net(16, classes, seed=classes)
    y = torch.randint(0, classes, (9,), generator=torch.Generator().manual_seed(2))
    threat = sized(ball_name)
    outcome = attack_of(attack_name)(model, x, y, threat)
    check_inside(outcome, x, threat)
    check_replayable(outcome, model, x, y, threat)
    check_never_worse(outcome, model, x, y)


@every_attack
@every_ball
def test_splitting_changes_nothing(attack_name: str, ball_name: str) -> None:
    x = inputs(10, 12, seed=8)
    model = invariant_net(12, 3, seed=4)
    y = model(x).argmax(1)
    y[0] = (y[0] + 1) % 3
    check_split(attack_of(attack_name), model, x, y, replace(sized(ball_name), eps=0.05))


@every_attack
@every_ball
@pytest.mark.parametrize("eps", [0.02, 0.3])
def test_the_gap_to_the_optimum_is_as_declared(attack_name: str, ball_name: str, eps: float) -> None:
    check_gap(attack_of(attack_name), gap_of(attack_name, ball_name), replace(ball_of(ball_name), eps=eps))


@every_attack
@every_ball
def test_better_than_random_at_equal_queries(attack_name: str, ball_name: str) -> None:
    check_beats_random(attack_of(attack_name), sized(ball_name))


@every_attack
@every_ball
def test_every_question_is_counted(attack_name: str, ball_name: str) -> None:
    check_metered(attack_of(attack_name), sized(ball_name))


@every_attack
@every_ball
@pytest.mark.parametrize("fail_at", [None, 1, 2, 3])
def test_the_model_is_untouched(attack_name: str, ball_name: str, fail_at: int | None) -> None:
    check_untouched(attack_of(attack_name), sized(ball_name), fail_at=fail_at)


@every_attack
@every_ball
def test_a_ball_of_size_zero_breaks_only_what_is_wrong_already(attack_name: str, ball_name: str) -> None:
    x = inputs(8, 6)
    model = invariant_net(6, 3, seed=1)
    y = torch.zeros(8, dtype=torch.long)
    outcome = attack_of(attack_name)(model, x, y, replace(ball_of(ball_name), eps=0.0))
    assert torch.equal(outcome.broken, model(x).argmax(1) != y)
    assert torch.equal(outcome.adversarial, x)


@every_attack
@every_ball
def test_what_is_wrong_already_costs_two_answers_and_no_gradient(attack_name: str, ball_name: str) -> None:
    x = inputs(5, 6)
    model = invariant_net(6, 3, seed=1)
    outcome = attack_of(attack_name)(model, x, (model(x).argmax(1) + 1) % 3, sized(ball_name))
    assert outcome.broken.all()
    assert (outcome.size == 0).all()
    assert torch.equal(outcome.adversarial, x)
    assert (outcome.forwards == 2).all()
    assert (outcome.backwards == 0).all()


@every_attack
@every_ball
@pytest.mark.parametrize("count", [0, 1])
def test_small_batches(attack_name: str, ball_name: str, count: int) -> None:
    x = inputs(count, 2, 3, 3, dtype=torch.float32)
    model = invariant_net(18, 2)
    outcome = attack_of(attack_name)(model, x, torch.zeros(count, dtype=torch.long), sized(ball_name))
    assert outcome.adversarial.shape == x.shape
    assert outcome.broken.shape == outcome.size.shape == outcome.error.shape == outcome.forwards.shape == (count,)
    assert not outcome.error.any()


@every_attack
@every_ball
def test_nan_answers_are_errors_and_not_breaks(attack_name: str, ball_name: str) -> None:
    x = inputs(8, 6)
    x[:, 0] = torch.tensor([0.0, 1.0] * 4)
    model = invariant_net(6, 3, seed=1)
    y = model(x).argmax(1)

    def ill(z: torch.Tensor) -> torch.Tensor:
        return torch.where(z[:, :1] < 0.2, torch.nan, model(z))

    outcome = attack_of(attack_name)(ill, x, y, replace(sized(ball_name), eps=0.1))
    assert outcome.error.tolist() == [True, False] * 4
    assert not outcome.broken[outcome.error].any()
    assert (outcome.forwards[outcome.error] == 1).all()


@every_attack
@every_ball
def test_a_gradient_that_is_not_finite_does_not_leave_the_ball(attack_name: str, ball_name: str) -> None:
    x = inputs(6, 5)
    weights = torch.tensor([1.0, -1.0, 2.0, 0.5, -2.0], dtype=torch.float64)

    def rooted(z: torch.Tensor) -> torch.Tensor:
        return torch.stack([torch.full((len(z),), 9.0, dtype=z.dtype), (z.clamp(0, 1).sqrt() * weights).sum(1)], 1)

    outcome = attack_of(attack_name)(rooted, x, torch.zeros(6, dtype=torch.long), sized(ball_name))
    check_inside(outcome, x, sized(ball_name))
    assert not outcome.error.any()


@every_attack
@every_ball
def test_the_callers_gradient_mode_does_not_matter(attack_name: str, ball_name: str) -> None:
    x = inputs(6, 6)
    model = invariant_net(6, 3, seed=1)
    y = model(x).argmax(1)
    plain = attack_of(attack_name)(model, x, y, sized(ball_name))
    with torch.no_grad():
        under_no_grad = attack_of(attack_name)(model, x, y, sized(ball_name))
    with torch.inference_mode():
        inferred = attack_of(attack_name)(model, x * 1, y, sized(ball_name))
    followed = attack_of(attack_name)(model, x.clone().requires_grad_(), y, sized(ball_name))
    for outcome in (under_no_grad, inferred, followed):
        assert torch.equal(outcome.adversarial, plain.adversarial)
        assert torch.equal(outcome.broken, plain.broken)
        assert not outcome.adversarial.requires_grad


@every_attack
@every_ball
def test_another_box_is_kept(attack_name: str, ball_name: str) -> None:
    kind = type(ball_of(ball_name))
    threat = kind(0.5, -1.0, 2.0)
    x = inputs(6, 6) * 3 - 1
    model = invariant_net(6, 3, seed=1)
    outcome = attack_of(attack_name)(model, x, model(x).argmax(1), threat)
    check_inside(outcome, x, threat)
