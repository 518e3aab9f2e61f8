"""How unlike public weights may be: no sum is one site's own update in all but name."""

import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from quintain.core.errors import SettingError
from quintain.data.dataset import from_arrays
from quintain.federated import FederatedConfig, secure_sum, simulate
from quintain.federated import client as client_program
from quintain.federated.differencing import cosine
from quintain.federated.secagg.policy import Task
from quintain.federated.secagg.weights import capped_weights, check_weights, largest_fraction, largest_weight
from quintain.training import Recipe
from tests.federated.rounds import federation

NAMES = ("a", "b", "c", "d", "e")
STEP = Recipe(epochs=1, batch_size=8, learning_rate=0.1)
HUGE = 10**330  # beyond any float


def sites(n=5):
    rng = np.random.default_rng(0)
    return {
        name: from_arrays(rng.random((16, 6)).astype(np.float32), np.arange(16) % 2, num_classes=2)
        for name in NAMES[:n]
    }


def linear():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 2))


def heavy(weight):
    return {**dict.fromkeys(NAMES, 1), "a": weight}


@pytest.mark.parametrize("weight", [2, 1000, 10**12, HUGE])
def test_a_weight_that_puts_a_sites_update_in_the_clear_is_refused_before_any_training(weight, monkeypatch):
    """Four of five survive and one of them may be the server's: two others of weight 1 hide a weight of 1,
    and not one of 2.
    """
    monkeypatch.setattr(client_program, "local_update", None)
    with pytest.raises(SettingError, match=r"'a' weighs .*; expected at most 1, the root"):
        simulate(sites(), linear(), FederatedConfig(1, STEP, weights=heavy(weight)))


def test_weights_far_beyond_floats_average_as_ever_and_move_the_model_by_numbers():
    net, even = linear(), linear()
    simulate(
        sites(),
        net,
        FederatedConfig(1, STEP, weights=dict.fromkeys(NAMES, HUGE)),
        dropouts={0: {"a": "masked"}},
    )
    simulate(sites(), even, FederatedConfig(1, STEP), dropouts={0: {"a": "masked"}})
    assert all(
        torch.equal(one, other) for one, other in zip(net.parameters(), even.parameters(), strict=True)
    )
    assert not torch.equal(net[0].weight, linear()[0].weight)


def test_a_weight_whose_words_would_all_be_zero_is_refused():
    far = {**dict.fromkeys(NAMES, 10**12), "e": 1}
    with pytest.raises(
        SettingError, match="'e' weighs 1 beside 1000000000000: its largest entry is below one step"
    ):
        simulate(sites(), linear(), FederatedConfig(1, STEP, weights=far))


def test_a_hidden_weight_that_stands_out_is_refused_and_so_is_a_weight_of_0():
    vectors = {name: np.full(4, 0.5) for name in "abcde"}
    with pytest.raises(SettingError, match="the weight of 'b' is 0; expected 1 or more"):
        secure_sum(vectors, weights={**heavy(5), "b": 0})
    with pytest.raises(SettingError, match="'a' weighs 5; expected at most 1"):
        secure_sum(vectors, weights=heavy(5))
    with pytest.raises(SettingError, match="divide all weights"):
        secure_sum(vectors, weights=dict.fromkeys(vectors, 2**40))


def test_the_sites_and_the_server_refuse_terms_under_which_a_site_stands_out():
    policy = federation(4).policy
    assert replace(policy, task=Task(weights=(7, 7, 7, 7)))
    for weights, match in [
        ((8, 7, 7, 7), "'site-0' weighs 8"),
        ((7, 7, 7), "3 weights for 4 sites"),
        ((7, 7, 0, 7), "of 'site-2' is 0"),
    ]:
        with pytest.raises(SettingError, match=match):
            replace(policy, task=Task(weights=weights))
    for odd in ([1, 1], (1.5, 1), ("1", 1), (True, 1)):
        with pytest.raises(SettingError, match="weight"):
            Task(weights=odd)


@settings(deadline=None, max_examples=200)
@given(weights=st.lists(st.integers(1, 30), min_size=3, max_size=6), data=st.data())
def test_the_bound_is_that_of_brute_force_over_all_survivors_and_all_of_them_that_side_with_the_server(
    weights, data
):
    corrupt = data.draw(st.integers(0, len(weights) - 2))
    minimum = data.draw(st.integers(corrupt + 2, len(weights)))
    honest = [
        set(survivors) - set(theirs)
        for size in range(minimum, len(weights) + 1)
        for survivors in combinations(range(len(weights)), size)
        for theirs in combinations(survivors, corrupt)
    ]
    squares = [(weights[i] ** 2, sum(weights[j] ** 2 for j in left - {i})) for left in honest for i in left]
    stands_out = any(own > others for own, others in squares)
    assert (max(weights) > largest_weight(weights, minimum, corrupt)) == stands_out
    share = max(weights[i] / sum(weights[j] for j in left) for left in honest for i in left)
    assert math.isclose(largest_fraction(weights, minimum, corrupt), share)
    named = {str(i): weight for i, weight in enumerate(weights)}
    capped = capped_weights(named, minimum, corrupt)
    check_weights(capped, minimum, corrupt, largest=10**6)
    assert stands_out or capped == named
    assert largest_fraction(capped.values(), minimum, corrupt) <= 0.5
    if stands_out:  # and the cap is the largest that will do
        over = largest_weight(weights, minimum, corrupt) + 1
        with pytest.raises(SettingError, match="expected at most"):
            check_weights(
                {name: min(weight, over) for name, weight in named.items()}, minimum, corrupt, largest=10**6
            )


def test_updates_that_have_nothing_to_do_with_each_other_hide_as_well_as_two_equals():
    """The measure behind the bound, at its worst: the attacker's cosine to the heaviest site's own update is
    1 / sqrt(2) and no more.
    """
    rng = np.random.default_rng(0)
    weights = [*range(1, 41), 149]
    assert largest_weight(weights, 41, 0) == math.isqrt(sum(w**2 for w in range(1, 41))) == 148
    weights[-1] = 148
    updates = rng.standard_normal((41, 20_000))
    assert cosine(np.array(weights) @ updates, updates[-1]) == pytest.approx(math.sqrt(0.5), abs=0.03)


def test_what_one_site_can_have_of_a_sum_is_told():
    assert simulate(sites(), linear(), FederatedConfig(1, STEP)).largest_fraction == pytest.approx(1 / 3)
    assert simulate(
        sites(), linear(), FederatedConfig(1, STEP, min_survivors=5, weights=heavy(1) | {"b": 1})
    ).largest_fraction == pytest.approx(1 / 4)
