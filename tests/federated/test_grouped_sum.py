"""Medians over sums of groups: what they stand, what they cost, and where there are none."""

import numpy as np
import pytest
import torch

from quintain.core.errors import ProtocolError, SettingError
from quintain.federated import (
    Aggregation,
    ClientNoise,
    FederatedConfig,
    GroupedSum,
    HomomorphicSum,
    SecureSum,
    grouped_sum,
    partition,
    robust_aggregation,
    simulate,
)
from quintain.federated import byzantine as attacks
from quintain.federated.differencing import cosine
from quintain.federated.fixed_groups import groups_of
from quintain.federated.robust_averages import RULES
from quintain.federated.secagg import client_masked
from quintain.federated.secagg.messages import MessageType, message_type_of
from quintain.federated.transport import DropoutStage
from quintain.federated.wrapped_aggregation import FACTS, WrappedAggregation
from quintain.training import Recipe
from tests.federated.settings import Party, blobs, linear, weights

SHORT = Recipe(epochs=4, batch_size=16, learning_rate=0.03)
STEPS = Recipe(epochs=2, batch_size=80, learning_rate=0.1)
"""For what is asked of the sums alone, however well the net does."""


def nine():
    return partition(blobs(720), 9, alpha=50.0, min_examples=10, min_per_class=1).sites


def trained(aggregation, byzantine=None, num_sites=9, rounds=3, recipe=SHORT, **settings):
    net = linear()
    sites = partition(blobs(720), num_sites, alpha=50.0, min_examples=10, min_per_class=1).sites
    config = FederatedConfig(
        rounds, recipe, **({"threshold": 6, "min_survivors": 6} if num_sites == 9 else {})
    )
    run = simulate(sites, net, config, aggregation=aggregation, byzantine=byzantine, **settings)
    return net, run


def accuracy(net):
    data = blobs(400, seed=9)
    x, y = data.batch(np.arange(len(data)))
    return (net(x).argmax(1) == y).float().mean().item()


@pytest.mark.parametrize("rule", RULES)
def test_it_is_the_robust_average_of_the_groups_averages(rule):
    """``exact`` compares with the rule over plain sums of the groups' own vectors."""
    net, run = trained(GroupedSum(rule), rounds=2)
    assert all(facts.simulated.exact and len(facts.survivors) == 9 for facts in run.rounds)
    assert accuracy(net) > 0.85
    assert run.largest_fraction == 0.5  # three in a sum, of which one sides with the server


def test_the_median_of_three_groups_by_hand():
    net, config = linear(), FederatedConfig(1, STEPS, threshold=6, min_survivors=6)
    seen = {}
    simulate(
        nine(), net, config, aggregation=GroupedSum(), on_round=lambda _, summed: seen.update(summed=summed)
    )
    alone = linear()
    change = weights(net).double() - weights(alone).double()
    found = seen["summed"].total / 9
    assert np.abs(found - change.numpy()).max() < 1e-6
    groups = groups_of(9)
    assert groups == ((0, 1, 2), (3, 4, 5), (6, 7, 8))


@pytest.fixture(scope="module")
def honest():
    """The averages of the two groups that ``hospital-5`` is not in, after a round."""
    sites, averages = nine(), []
    for group in (groups_of(9)[0], groups_of(9)[2]):
        names = [tuple(sites)[place] for place in group]
        net = linear()
        simulate({name: sites[name] for name in names}, net, FederatedConfig(1, STEPS))
        averages.append(weights(net))
    return averages


@pytest.mark.parametrize("attack", attacks.UPDATE_ATTACKS)
def test_one_malicious_site_moves_an_average_and_keeps_the_median_among_the_honest_groups(attack, honest):
    """In each coordinate: between the averages of the two groups that it is not in."""
    change = {"hospital-5": attacks.UPDATE_ATTACKS[attack]}
    low, high = torch.stack(honest).amin(0), torch.stack(honest).amax(0)
    outside = {}
    for aggregation in (SecureSum(), GroupedSum()):
        found = weights(trained(aggregation, change, rounds=1, recipe=STEPS)[0])
        outside[aggregation.name] = float(torch.maximum(low - found, found - high).max())
    assert outside["secagg-median-3"] < 1e-6
    assert outside["secagg"] > 0.01


@pytest.mark.exhaustive
def test_the_largest_legal_updates_of_one_site_ruin_a_mean_and_those_of_two_groups_a_median():
    """No range check refuses them; half of the groups is what no median stands."""
    legal = attacks.largest_legal
    assert accuracy(trained(SecureSum(), {"hospital-5": legal})[0]) < 0.6
    assert accuracy(trained(GroupedSum(), {"hospital-5": legal})[0]) > 0.85
    assert accuracy(trained(GroupedSum(), {"hospital-5": legal, "hospital-6": legal})[0]) > 0.85
    assert accuracy(trained(GroupedSum(), {"hospital-5": legal, "hospital-9": legal})[0]) < 0.6


def test_a_site_that_falls_silent_costs_its_group_and_no_other():
    _, run = trained(
        GroupedSum(), num_sites=12, rounds=2, recipe=STEPS, dropouts={1: {"hospital-5": "masked"}}
    )
    assert run.rounds[1].survivors == tuple(f"hospital-{n}" for n in (1, 2, 3, 7, 8, 9, 10, 11, 12))
    assert "its group broke off" in run.rounds[1].refused["hospital-4"]
    assert all(facts.simulated.exact for facts in run.rounds)
    _, run = trained(GroupedSum(), recipe=STEPS, dropouts={1: {"hospital-5": "masked"}})
    assert "2 of 3 groups came to a sum" in run.rounds[1].abort_reason
    assert run.rounds[2].survivors


def complaining(monkeypatch, cheat):
    """Let a site complain of a good share in the second round."""
    true = client_masked._open_pair

    def opened(state, dealer, secret, dealt):
        if state.context.identity.name == cheat and state.context.policy.task.counter == 1:
            raise ProtocolError("a false complaint")
        return true(state, dealer, secret, dealt)

    monkeypatch.setattr(client_masked, "_open_pair", opened)


@pytest.mark.parametrize(
    ("num_sites", "lost"), [(10, ("hospital-2",)), (12, ("hospital-1", "hospital-2", "hospital-3"))]
)
def test_the_training_goes_on_without_a_proven_cheat_while_groups_are_enough(num_sites, lost, monkeypatch):
    """A group of four sums without it; one of three is left out, and three others are enough for a median."""
    complaining(monkeypatch, "hospital-2")
    _, run = trained(GroupedSum(), num_sites=num_sites, recipe=STEPS)
    assert [one.accused for one in run.rounds] == [(), ("hospital-2",), ()]
    assert run.rounds[0].dropped == ()
    for one in run.rounds[1:]:
        assert one.simulated.exact
        assert one.dropped == lost
    assert "proven to have cheated in round 1" in run.rounds[2].refused["hospital-2"]


def test_where_a_proven_cheat_leaves_too_few_groups_no_site_trains_in_vain_and_what_to_do_is_said(
    monkeypatch,
):
    complaining(monkeypatch, "hospital-5")
    net, run = trained(GroupedSum(), rounds=4, recipe=STEPS)
    assert not run.rounds[0].abort_reason
    assert "2 of 3 groups came to a sum" in run.rounds[1].abort_reason
    assert run.rounds[1].accused == ("hospital-5",)
    for one in run.rounds[2:]:
        assert (one.simulated.losses, one.masked_vectors, set(one.bytes_uploaded.values())) == ({}, 0, {0})
        for part in (
            "no site was asked to train: without hospital-5, proven to have cheated, 2 of 3 fixed groups",
            "6 in all; expected 3 or more",
            "A roster of 9 sites or more has groups enough; fewer have a plain mean.",
            "Agree on a roster without hospital-5, and train anew under it from other first weights",
        ):
            assert part in one.abort_reason
    # the model is that of the first round
    alone, _ = trained(GroupedSum(), rounds=1, recipe=STEPS)
    assert torch.equal(weights(net), weights(alone))


def test_a_wrapped_aggregation_leaves_out_no_fact_and_no_method():
    facts = {name for name in Aggregation.__annotations__ if name != "kind"}
    assert set(FACTS) == facts
    methods = {name for name, one in vars(Aggregation).items() if callable(one) and not name.startswith("_")}
    # ``can_sum`` follows from ``shortage``
    assert methods - vars(WrappedAggregation).keys() == {"can_sum"}
    inner = GroupedSum("trimmed-mean", 4)
    wrapped = WrappedAggregation(inner)
    assert {name: getattr(wrapped, name) for name in facts} == {name: getattr(inner, name) for name in facts}
    assert wrapped.protocol(12, 9) == inner.protocol(12, 9)
    assert wrapped.summed_with(5, 12) == (4, 5, 6, 7)


def test_where_no_site_may_be_missing_no_group_opens_a_sum_without_one():
    """Its sums of two rounds would subtract to that site's update, though the second round is abandoned."""
    opened = []

    class Seen(GroupedSum):
        def check_view(self, view, truth, known_secrets):
            unmasked = {one.site for one in view.received if message_type_of(one.data) is MessageType.UNMASK}
            opened.append(unmasked)

    sites = partition(blobs(720), 10, alpha=50.0, min_examples=10, min_per_class=1).sites
    config = FederatedConfig(2, STEPS, min_survivors=10)
    run = simulate(sites, linear(), config, aggregation=Seen(), dropouts={1: {"hospital-4": "masked"}})
    assert groups_of(10)[0] == (0, 1, 2, 3)
    assert opened == [set(range(10)), set(range(4, 10))]
    assert run.rounds[1].abort_reason
    assert run.largest_fraction == 1 / 2  # of the groups of three


@pytest.mark.parametrize("aggregation", [SecureSum(), GroupedSum()], ids=["mean", "median"])
def test_one_site_that_is_not_cut_to_its_own_clip_moves_a_mean_to_the_clip_and_no_median(
    aggregation, monkeypatch
):
    """As docs/strategies.md says: the sum alone is held to the clip of all."""
    clip, sites = 0.05, nine()
    little = Recipe(epochs=1, batch_size=10_000, learning_rate=0.01, optimizer="sgd")
    config = FederatedConfig(1, little, threshold=6, min_survivors=6, clip_value=clip)
    # of nine sites, or of the group's three
    times = 8.0 if aggregation.sums_all else 2.0
    clean, moved = linear(), linear()
    simulate(sites, clean, config, aggregation=aggregation)

    def beyond(self, update, encoding, relative_weight):
        return np.full(encoding.num_words, round(times * encoding.max_abs), np.int64).astype(np.uint32)

    monkeypatch.setattr(attacks.ByzantineAggregation, "encode", beyond)
    run = simulate(sites, moved, config, aggregation=aggregation, byzantine={"hospital-5": attacks.flip_sign})
    assert run.rounds[0].dropped == ()
    change = weights(moved) - weights(linear())
    assert float(change.abs().max()) <= clip * (1 + 1e-6)
    apart = float((weights(moved) - weights(clean)).abs().max())
    assert (apart > 7 * clip / 9) == aggregation.sums_all


def test_a_group_whose_sum_is_beyond_the_clip_is_left_out_and_the_round_goes_on(monkeypatch):
    """Over all sites such a sum costs the whole round."""

    def beyond(self, update, encoding, relative_weight):
        return np.full(encoding.num_words, 3 * round(encoding.clip_value * encoding.scale), np.uint32)

    monkeypatch.setattr(attacks.ByzantineAggregation, "encode", beyond)
    change = {"hospital-1": attacks.flip_sign}
    _, run = trained(GroupedSum(), change, num_sites=12, rounds=1, recipe=STEPS)
    assert run.rounds[0].survivors == tuple(f"hospital-{n}" for n in range(4, 13))
    assert "its group broke off: entry" in run.rounds[0].refused["hospital-2"]


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: robust_aggregation("median", SecureSum(), 5), "fewer than 9 sites no robust average"),
        (lambda: robust_aggregation("median", SecureSum(), 8), "8 sites in groups of 3"),
        (lambda: robust_aggregation("krum", SecureSum(), 50), "krum compares single updates"),
        (lambda: robust_aggregation("mode", SecureSum(), 50), "'mode'; expected median or trimmed-mean"),
        (lambda: robust_aggregation("median", HomomorphicSum(), 50), "expected secagg"),
        (lambda: groups_of(20, 2), "20 sites in groups of 2"),
        (lambda: GroupedSum("mean"), "rule = 'mean'"),
        (lambda: trained(GroupedSum(), {"hospital-99": attacks.flip_sign}), "byzantine names hospital-99"),
    ],
)
def test_what_no_robust_average_can_be_taken_of_is_refused_with_the_reason(make, match):
    with pytest.raises(SettingError, match=match):
        make()


def test_unequal_weights_and_noise_for_a_sum_of_all_are_refused():
    sites = nine()
    unequal = {name: 2 if name == "hospital-1" else 1 for name in sites}
    with pytest.raises(SettingError, match="unequal weights"):
        simulate(sites, linear(), FederatedConfig(1, STEPS, weights=unequal), aggregation=GroupedSum())
    noisy = FederatedConfig(1, STEPS, client_noise=ClientNoise(1.0, 1.0))
    with pytest.raises(SettingError, match="noise is made for the sum of all sites"):
        simulate(sites, linear(), noisy, aggregation=GroupedSum())


def test_exposed_is_what_the_groups_own_sums_subtract_to(monkeypatch):
    """A group lacks a site in the second round, another one in the third: the average lacks one in both."""
    run_groups, views, sums, truths = grouped_sum._run_groups, GroupedSum.check_view, [], []

    def seen(policy, groups, transport):
        found = run_groups(policy, groups, transport)
        encoding = policy.encoding
        sums.append(
            {group: encoding.decode(encoding.to_signed(one.total)) for group, one in found[0].items()}
        )
        return found

    def checked(self, view, truth, known_secrets):
        encoding = view.policy.encoding
        truths.append({name: encoding.decode(encoding.to_signed(words)) for name, words in truth.items()})
        views(self, view, truth, known_secrets)

    monkeypatch.setattr(grouped_sum, "_run_groups", seen)
    monkeypatch.setattr(GroupedSum, "check_view", checked)
    silent = {1: {"hospital-2": "masked"}, 2: {"hospital-7": "masked"}}
    _, run = trained(GroupedSum(group_size=4), num_sites=12, recipe=STEPS, dropouts=silent)
    first, second = groups_of(12, 4)[:2]
    expected = [
        {},
        {"hospital-2": cosine(sums[0][first] - sums[1][first], truths[0]["hospital-2"])},
        {
            "hospital-2": cosine(sums[2][first] - sums[1][first], truths[2]["hospital-2"]),
            "hospital-7": cosine(sums[1][second] - sums[2][second], truths[1]["hospital-7"]),
        },
    ]
    found = [facts.simulated.exposed for facts in run.rounds]
    assert [list(one) for one in found] == [sorted(one) for one in expected]
    assert all(one == pytest.approx(other) for one, other in zip(found, expected, strict=True))


def test_a_group_that_came_to_no_sum_has_its_last_one_from_a_round_before():
    """Its next sum meets that one, and of the round that was abandoned for it the server has the others'."""
    silent = {2: dict.fromkeys(("hospital-3", "hospital-7"), "masked")}
    silent[1] = {"hospital-2": "masked", **silent[2]}
    _, run = trained(GroupedSum(group_size=4), num_sites=12, recipe=STEPS, dropouts=silent)
    assert run.rounds[1].abort_reason
    assert [list(facts.simulated.exposed) for facts in run.rounds] == [[], ["hospital-7"], ["hospital-3"]]


def test_each_site_cuts_its_own_update_to_the_norm_and_a_malicious_one_does_not():
    sites, seen = partition(blobs(), 4, alpha=None).sites, []
    config = FederatedConfig(1, STEPS, clip_norm=0.05, max_corrupt=0, min_survivors=4)
    for malicious in ({}, {"hospital-2": attacks.scale_up}):
        simulate(
            sites,
            linear(),
            config,
            byzantine=malicious,
            on_round=lambda _, summed: seen.append(float(np.linalg.norm(summed.mean))),
        )
    assert seen[0] <= 0.05 + 1e-6 < seen[1]
    with pytest.raises(SettingError, match="clip_norm = 0"):
        FederatedConfig(1, STEPS, clip_norm=0.0)


@pytest.mark.parametrize(
    ("num_sites", "missing", "enough"),
    [
        (9, (), True),
        (9, (4,), False),
        (12, (0, 1, 2), True),
        (12, (0, 3), False),
        (15, (0,), True),
        (15, (0, 3), False),
    ],
)
def test_sites_are_waited_for_until_enough_groups_of_them_make_a_sum(num_sites, missing, enough):
    party = Party(num_sites=num_sites, aggregation=GroupedSum(), config=FederatedConfig(1, STEPS))
    policy, here = party.plan().policy(0, bytes(16), bytes(32)), set(range(num_sites)) - set(missing)
    assert party.aggregation.can_sum(policy, here) == enough
    # as the round itself tells
    gone = dict.fromkeys(missing, DropoutStage.KEYS)
    assert bool(party.server().run_round(party.network(gone)).survivors) == enough
