"""Every registered attack, in every registered threat that it serves."""

import math
from dataclasses import replace

import pytest
import torch

from quintain.core.errors import SettingError
from quintain.core.registry import entries
from quintain.threats import ParametricThreat
from tests.laws.attack_pairs import (
    BREAKING,
    CLOSED_FORMS,
    PAIRS,
    SMALLEST,
    WIDE,
    attack_of,
    ball_of,
    by_turns,
    each_once,
    every_pair,
    every_pair_in_turn,
    exempt,
    gap_ball,
    gap_of,
    gap_shape,
    resized,
    sized,
)
from tests.laws.checks_attacks import (
    CUTS,
    check_beats_random,
    check_budget,
    check_gap,
    check_inside,
    check_labels_suffice,
    check_metered,
    check_never_worse,
    check_replayable,
    check_smallest,
    check_split,
    check_targeted,
    check_untouched,
    inputs,
    invariant_net,
)


@pytest.mark.parametrize("name", sorted(entries("attack")))
def test_the_threats_that_an_attack_supports_are_registered(name: str) -> None:
    assert attack_of(name).name == name
    assert set(attack_of(name).supports) <= set(entries("threat"))


@pytest.mark.parametrize("name", sorted(entries("attack")))
def test_a_threat_that_it_does_not_serve_is_refused_by_name(name: str) -> None:
    attack = attack_of(name)
    for other in sorted(set(entries("threat")) - set(attack.supports)):
        with pytest.raises(
            SettingError, match=f"{name} does not support the threat .* Attacks that support {other}:"
        ):
            attack(
                lambda z: z.flatten(1),
                torch.rand(2, 1, 4, 4),
                torch.zeros(2, dtype=torch.long),
                ball_of(other),
            )


@every_pair_in_turn("queries", [2, 3, 9, 40])
def test_a_budget_is_kept(attack_name: str, ball_name: str, queries: int) -> None:
    check_budget(attack_of(attack_name), sized(ball_name), queries)


@every_pair
def test_targets_are_reached_or_refused(attack_name: str, ball_name: str) -> None:
    attack = attack_of(attack_name)
    if attack.supports_targets:
        check_targeted(attack, sized(ball_name))
        return
    with pytest.raises(SettingError, match="cannot be given targets"):
        check_targeted(attack, sized(ball_name))


@pytest.mark.parametrize(
    ("attack_name", "ball_name"),
    [pair for pair in PAIRS if entries("attack")[pair[0]].fact("access") == "labels"],
)
def test_labels_suffice_where_they_are_said_to(attack_name: str, ball_name: str) -> None:
    check_labels_suffice(attack_of(attack_name), sized(ball_name))


@pytest.mark.parametrize(
    ("attack_name", "ball_name"),
    [pair for pair in PAIRS if entries("attack")[pair[0]].fact("access") != "gradients"],
)
def test_no_gradient_is_asked_where_scores_suffice(attack_name: str, ball_name: str) -> None:
    x = inputs(6, 1, 4, 4)
    model = invariant_net(16, 3, seed=1)
    outcome = attack_of(attack_name)(lambda z: model(z).detach(), x, model(x).argmax(1), sized(ball_name))
    assert (outcome.backwards == 0).all()


@every_pair_in_turn("classes,dtype", [(2, torch.float32), (3, torch.float64), (10, torch.float32)])
def test_outcomes_are_inside_replayable_and_never_worse(
    attack_name: str, ball_name: str, classes: int, dtype: torch.dtype
) -> None:
    x = inputs(9, 1, 4, 4, dtype=dtype)
    model = invariant_net(16, classes, seed=classes)
    y = torch.randint(0, classes, (9,), generator=torch.Generator().manual_seed(2))
    threat = sized(ball_name)
    outcome = attack_of(attack_name)(model, x, y, threat)
    check_inside(outcome, x, threat)
    check_replayable(outcome, model, x, y, threat)
    check_never_worse(outcome, model, x, y)


@pytest.mark.rounding
@every_pair
@pytest.mark.parametrize("cuts", ["uneven", pytest.param("singly and alike", marks=pytest.mark.exhaustive)])
def test_splitting_changes_nothing(attack_name: str, ball_name: str, cuts: str) -> None:
    x = inputs(10, 1, 4, 3, seed=8)
    model = invariant_net(12, 3, seed=4)
    y = model(x).argmax(1)
    y[0] = (y[0] + 1) % 3
    check_split(attack_of(attack_name), model, x, y, sized(ball_name), CUTS[cuts])


@pytest.mark.parametrize(("share", "attack_name", "ball_name"), by_turns(BREAKING, (0.05, 0.6)))
def test_the_gap_to_the_optimum_is_as_declared(share: float, attack_name: str, ball_name: str) -> None:
    shape = gap_shape(attack_name)
    threat = gap_ball(ball_name, share, math.prod(shape))
    check_gap(
        attack_of(attack_name, "gap_test_settings"), gap_of(attack_name, ball_name), threat, shape=shape
    )


@pytest.mark.parametrize(("share", "attack_name", "ball_name"), by_turns(SMALLEST, (0.05, 1.0)))
def test_the_smallest_change_is_found_within_the_declared_gap(
    share: float, attack_name: str, ball_name: str
) -> None:
    if exempt(attack_name, "the smallest change in a wide ball"):
        share = min(share, 0.1)
    eps = max(1.0, round(share * WIDE[ball_name])) if ball_name == "l0" else share * WIDE[ball_name]
    check_smallest(
        attack_of(attack_name, "gap_test_settings"),
        gap_of(attack_name, ball_name),
        replace(ball_of(ball_name), eps=eps),
    )


@each_once([pair for pair in BREAKING if not exempt(pair[0], f"better than random in {pair[1]}")])
def test_better_than_random_at_equal_queries(attack_name: str, ball_name: str) -> None:
    check_beats_random(attack_of(attack_name), sized(ball_name))


@each_once()
def test_every_question_is_counted(attack_name: str, ball_name: str) -> None:
    check_metered(attack_of(attack_name), sized(ball_name))


@every_pair_in_turn("fail_at", [None, 1, 2, 3])
def test_the_model_is_untouched(attack_name: str, ball_name: str, fail_at: int | None) -> None:
    check_untouched(attack_of(attack_name), sized(ball_name), fail_at=fail_at)


@each_once([pair for pair in PAIRS if not isinstance(ball_of(pair[1]), ParametricThreat)])
def test_a_ball_of_size_zero_breaks_only_what_is_wrong_already(attack_name: str, ball_name: str) -> None:
    x = inputs(8, 1, 2, 3)
    model = invariant_net(6, 3, seed=1)
    y = torch.zeros(8, dtype=torch.long)
    outcome = attack_of(attack_name)(model, x, y, replace(ball_of(ball_name), eps=0.0))
    assert torch.equal(outcome.success, model(x).argmax(1) != y)
    assert torch.equal(outcome.adversarial, x)


@each_once()
def test_what_is_wrong_already_costs_two_answers_and_no_gradient(attack_name: str, ball_name: str) -> None:
    x = inputs(5, 1, 2, 3)
    model = invariant_net(6, 3, seed=1)
    outcome = attack_of(attack_name)(model, x, (model(x).argmax(1) + 1) % 3, sized(ball_name))
    assert outcome.success.all()
    assert (outcome.size == 0).all()
    assert torch.equal(outcome.adversarial, x)
    assert (outcome.forwards == 2).all()
    assert (outcome.backwards == 0).all()


@every_pair_in_turn("count", [0, 1])
def test_small_batches(attack_name: str, ball_name: str, count: int) -> None:
    x = inputs(count, 2, 3, 3, dtype=torch.float32)
    model = invariant_net(18, 2)
    outcome = attack_of(attack_name)(model, x, torch.zeros(count, dtype=torch.long), sized(ball_name))
    assert outcome.adversarial.shape == x.shape
    assert (
        outcome.success.shape
        == outcome.size.shape
        == outcome.error.shape
        == outcome.forwards.shape
        == (count,)
    )
    assert not outcome.error.any()


@each_once()
def test_nan_answers_are_errors_and_not_breaks(attack_name: str, ball_name: str) -> None:
    x = inputs(8, 1, 2, 3)
    x[:, 0, 0, 0] = torch.tensor([0.0, 1.0] * 4)
    model = invariant_net(6, 3, seed=1)
    y = model(x).argmax(1)

    def ill(z: torch.Tensor) -> torch.Tensor:
        return torch.where(z[:, 0, 0, :1] < 0.2, torch.nan, model(z))

    threat = sized(ball_name) if isinstance(sized(ball_name), ParametricThreat) else resized(ball_name, 0.1)
    outcome = attack_of(attack_name)(ill, x, y, threat)
    assert outcome.error[::2].all()
    assert (outcome.forwards[::2] == 1).all()
    assert not outcome.success[outcome.error].any()
    assert isinstance(threat, ParametricThreat) or not outcome.error[1::2].any()


@each_once()
def test_a_gradient_that_is_not_finite_does_not_leave_the_ball(attack_name: str, ball_name: str) -> None:
    x = inputs(6, 1, 1, 5)
    weights = torch.tensor([1.0, -1.0, 2.0, 0.5, -2.0], dtype=torch.float64)

    def rooted(z: torch.Tensor) -> torch.Tensor:
        return torch.stack(
            [torch.full((len(z),), 9.0, dtype=z.dtype), (z.flatten(1).clamp(0, 1).sqrt() * weights).sum(1)], 1
        )

    outcome = attack_of(attack_name)(rooted, x, torch.zeros(6, dtype=torch.long), sized(ball_name))
    check_inside(outcome, x, sized(ball_name))
    assert not outcome.error.any()


@each_once()
def test_the_callers_gradient_mode_does_not_matter(attack_name: str, ball_name: str) -> None:
    x = inputs(6, 1, 2, 3)
    model = invariant_net(6, 3, seed=1)
    y = model(x).argmax(1)
    followed = attack_of(attack_name)(model, x.clone().requires_grad_(), y, sized(ball_name))
    with torch.no_grad():
        under_no_grad = attack_of(attack_name)(model, x, y, sized(ball_name))
    with torch.inference_mode():
        inferred = attack_of(attack_name)(model, x * 1, y, sized(ball_name))
    for outcome in (under_no_grad, inferred, followed):
        assert torch.equal(outcome.adversarial, followed.adversarial)
        assert torch.equal(outcome.success, followed.success)
        assert not outcome.adversarial.requires_grad


@each_once([pair for pair in PAIRS if pair[1] in CLOSED_FORMS])
def test_another_box_is_kept(attack_name: str, ball_name: str) -> None:
    threat = replace(sized(ball_name), low=-1.0, high=2.0)
    x = inputs(6, 1, 2, 3) * 3 - 1
    model = invariant_net(6, 3, seed=1)
    outcome = attack_of(attack_name)(model, x, model(x).argmax(1), threat)
    check_inside(outcome, x, threat)
