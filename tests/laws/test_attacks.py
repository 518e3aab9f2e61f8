"""Every registered attack, in every registered threat that it supports."""

import math

import pytest
import torch

from quintain.core.registry import declared_entries, entries
from quintain.testing import (
    CLOSED_FORMS,
    SPLITS,
    check_attack_device,
    check_better_than_random,
    check_gradient_mode,
    check_labels_suffice,
    check_max_queries,
    check_misclassified_cost,
    check_nan_is_error,
    check_no_gradients,
    check_nonfinite_gradient,
    check_optimality_gap,
    check_outcomes,
    check_queries_counted,
    check_small_batches,
    check_smallest_change,
    check_split,
    check_targets,
    check_unsupported_refused,
    check_untouched,
    check_wider_data_box,
    check_zero_size,
    example_threat,
    gap_shape,
    gap_threat,
    law_threat,
    threat_of_size,
    whole_space_threat,
)
from quintain.threats import ParametricThreat
from tests.laws.attack_pairs import (
    BREAKING,
    PAIRS,
    SMALLEST,
    attack_of,
    by_turns,
    each_once,
    every_pair_in_turn,
    exempt,
)


@pytest.mark.parametrize("name", sorted(entries("attack")))
def test_the_threats_that_an_attack_supports_are_registered(name: str) -> None:
    assert attack_of(name).name == name
    assert set(attack_of(name).supports) <= set(entries("threat"))


@pytest.mark.parametrize("name", sorted(entries("attack")))
def test_a_threat_that_it_does_not_support_is_refused_by_name(name: str) -> None:
    check_unsupported_refused(attack_of(name))


@every_pair_in_turn("queries", [2, 3, 9, 40])
def test_a_budget_is_kept(attack_name: str, ball_name: str, queries: int) -> None:
    check_max_queries(attack_of(attack_name), law_threat(ball_name), queries)


@each_once()
def test_targets_are_reached_or_refused(attack_name: str, ball_name: str) -> None:
    check_targets(attack_of(attack_name), law_threat(ball_name))


@pytest.mark.parametrize(
    ("attack_name", "ball_name"),
    [pair for pair in PAIRS if declared_entries("attack")[pair[0]].fact("access") == "labels"],
)
def test_labels_suffice_where_they_are_said_to(attack_name: str, ball_name: str) -> None:
    check_labels_suffice(attack_of(attack_name), law_threat(ball_name))


@pytest.mark.parametrize(
    ("attack_name", "ball_name"),
    [pair for pair in PAIRS if attack_of(pair[0]).access != "gradients"],
)
def test_no_gradient_is_asked_where_scores_suffice(attack_name: str, ball_name: str) -> None:
    check_no_gradients(attack_of(attack_name), law_threat(ball_name))


@every_pair_in_turn("classes,dtype", [(2, torch.float32), (3, torch.float64), (10, torch.float32)])
def test_outcomes_are_inside_replayable_and_never_worse(
    attack_name: str, ball_name: str, classes: int, dtype: torch.dtype
) -> None:
    check_outcomes(attack_of(attack_name), law_threat(ball_name), [(classes, dtype)])


@each_once()
def test_an_accelerator_gives_the_same(attack_name: str, ball_name: str) -> None:
    check_attack_device(attack_of(attack_name), law_threat(ball_name))


@pytest.mark.rounding
@each_once()
@pytest.mark.parametrize("cuts", ["uneven", pytest.param("singly and alike", marks=pytest.mark.exhaustive)])
def test_splitting_changes_nothing(attack_name: str, ball_name: str, cuts: str) -> None:
    check_split(attack_of(attack_name), law_threat(ball_name), SPLITS[cuts])


@pytest.mark.parametrize(("share", "attack_name", "ball_name"), by_turns(BREAKING, (0.05, 0.6)))
def test_the_gap_to_the_optimum_is_as_declared(share: float, attack_name: str, ball_name: str) -> None:
    attack = attack_of(attack_name, "gap_test_settings")
    shape = gap_shape(attack)
    check_optimality_gap(attack, gap_threat(ball_name, share, math.prod(shape)), shape=shape)


@pytest.mark.parametrize(("share", "attack_name", "ball_name"), by_turns(SMALLEST, (0.05, 1.0)))
def test_the_smallest_change_is_found_within_the_declared_gap(
    share: float, attack_name: str, ball_name: str
) -> None:
    if exempt(attack_name, "the smallest change in a wide ball"):
        share = min(share, 0.1)
    check_smallest_change(attack_of(attack_name, "gap_test_settings"), whole_space_threat(ball_name, share))


@each_once([pair for pair in BREAKING if not exempt(pair[0], f"better than random in {pair[1]}")])
def test_better_than_random_at_equal_queries(attack_name: str, ball_name: str) -> None:
    check_better_than_random(attack_of(attack_name), law_threat(ball_name))


@each_once()
def test_every_query_is_counted(attack_name: str, ball_name: str) -> None:
    check_queries_counted(attack_of(attack_name), law_threat(ball_name))


@every_pair_in_turn("fail_at", [None, 1, 2, 3])
def test_the_model_is_untouched(attack_name: str, ball_name: str, fail_at: int | None) -> None:
    check_untouched(attack_of(attack_name), law_threat(ball_name), fail_at=fail_at)


@each_once([pair for pair in PAIRS if not isinstance(example_threat(pair[1]), ParametricThreat)])
def test_a_ball_of_size_zero_breaks_only_what_is_wrong_already(attack_name: str, ball_name: str) -> None:
    check_zero_size(attack_of(attack_name), threat_of_size(ball_name, 0.0))


@each_once()
def test_what_is_wrong_already_costs_two_queries_and_no_gradient(attack_name: str, ball_name: str) -> None:
    check_misclassified_cost(attack_of(attack_name), law_threat(ball_name))


@every_pair_in_turn("count", [0, 1])
def test_small_batches(attack_name: str, ball_name: str, count: int) -> None:
    check_small_batches(attack_of(attack_name), law_threat(ball_name), count)


@each_once()
def test_nan_is_an_error_and_no_success(attack_name: str, ball_name: str) -> None:
    check_nan_is_error(attack_of(attack_name), ball_name)


@each_once()
def test_a_gradient_that_is_not_finite_does_not_leave_the_ball(attack_name: str, ball_name: str) -> None:
    check_nonfinite_gradient(attack_of(attack_name), law_threat(ball_name))


@each_once()
def test_the_callers_gradient_mode_does_not_matter(attack_name: str, ball_name: str) -> None:
    check_gradient_mode(attack_of(attack_name), law_threat(ball_name))


@each_once([pair for pair in PAIRS if pair[1] in CLOSED_FORMS])
def test_another_box_is_kept(attack_name: str, ball_name: str) -> None:
    check_wider_data_box(attack_of(attack_name), law_threat(ball_name))
