"""Who falls silent in the rounds of a simulated federated training."""

import pytest

from quintain.core.errors import SettingError
from quintain.evaluate.dropouts import DropoutRates, check_dropout_rates, planned_dropouts
from quintain.federated import HomomorphicSum, PlainMean, SecureSum
from quintain.federated.fixed_groups import groups_of, min_members
from quintain.federated.transport import DropoutStage

TEN = [f"site-{i}" for i in range(10)]


def test_thirty_percent_of_ten_sites_drop_out_of_each_round_at_all_stages_in_turn():
    planned = planned_dropouts(TEN, 5, DropoutRates(0.3), SecureSum.replies, seed=0)
    assert [len(one) for one in planned.values()] == [3] * 5
    stages = [stage for one in planned.values() for stage in one.values()]
    assert {stages.count(stage) for stage in DropoutStage if stage is not DropoutStage.LATE} == {3}
    assert len({frozenset(one) for one in planned.values()}) > 1
    assert planned == planned_dropouts(TEN, 5, DropoutRates(0.3), SecureSum.replies, seed=0)
    assert planned != planned_dropouts(TEN, 5, DropoutRates(0.3), SecureSum.replies, seed=1)


def test_stragglers_are_other_sites_whose_vector_is_late():
    planned = planned_dropouts(TEN, 3, DropoutRates(0.1, 2), SecureSum.replies, seed=0)
    for one in planned.values():
        assert sorted(stage is DropoutStage.LATE for stage in one.values()) == [False, True, True]
    assert planned_dropouts(TEN, 3, DropoutRates(0.05), SecureSum.replies, seed=0) == {}


@pytest.mark.parametrize("aggregation", [PlainMean, HomomorphicSum, SecureSum])
def test_sites_drop_out_at_messages_that_the_aggregation_has(aggregation):
    planned = planned_dropouts(TEN, 5, DropoutRates(0.3), aggregation.replies, seed=0)
    assert {stage.first_missing for one in planned.values() for stage in one.values()} == set(
        aggregation.replies
    )


def test_silence_that_leaves_no_sum_is_refused():
    check_dropout_rates(DropoutRates(0.3), 10, 7)
    for rates in (DropoutRates(0.4), DropoutRates(0.3, 1), DropoutRates(0, 4)):
        with pytest.raises(SettingError, match="4 of 10 sites in each round, and a sum needs 7"):
            check_dropout_rates(rates, 10, 7)
    for wrong in ((1.0, 0), (-0.1, 0), (0.1, -1)):
        with pytest.raises(SettingError):
            DropoutRates(*wrong)


@pytest.mark.parametrize(
    ("part", "sites", "least"),
    [(0.1, 5, "0.2"), (0.33, 3, "0.3334"), (0.14, 7, "0.1429"), (1e-12, 10, "0.1")],
)
def test_a_part_that_is_no_site_is_refused_with_the_smallest_that_is_one(part, sites, least):
    said = (
        f"drop = {part:g} of {sites} sites is less than one, .*expected at least {least}, which is one site"
    )
    with pytest.raises(SettingError, match=said):
        check_dropout_rates(DropoutRates(part, 1), sites, 2)
    check_dropout_rates(DropoutRates(float(least)), sites, 2)
    assert DropoutRates(float(least)).num_dropped(sites) == 1
    check_dropout_rates(DropoutRates(0.0, 1), sites, 2)


def group_sizes(sites):
    return [len(group) for group in groups_of(sites)]


@pytest.mark.parametrize(
    ("sites", "least", "most"),
    [
        (9, 2, 0),  # three groups of three, all needed
        (10, 2, 0),  # one of four stands a silent site, the others do not
        (12, 2, 1),  # three of four
        (12, 12, 0),
        (15, 2, 2),  # three of five
        (15, 11, 1),  # by default 11 sites in all: of four groups, not of three
        (14, 10, 1),
        (18, 13, 1),
        (27, 2, 4),  # five of nine
        (27, 19, 2),
        (29, 2, 4),
    ],
)
def test_a_robust_average_stands_so_many_silent_sites_wherever_they_are(sites, least, most):
    sizes = group_sizes(sites)
    check_dropout_rates(DropoutRates(0.0, most), sites, least, sizes)
    with pytest.raises(SettingError, match=f"silence {most + 1} of {sites} .*at most {most} silent ones"):
        check_dropout_rates(DropoutRates(0.0, most + 1), sites, least, sizes)
    # the bound by all ways of placing them: ``min_members`` of a group must answer
    needed = max(3, len(sizes) // 2 + 1)
    for silent in (most, most + 1):
        stands = []
        for spread in spreads(silent, sizes):
            left = [
                size - gone
                for size, gone in zip(sizes, spread, strict=True)
                if size - gone >= min_members(size, sites, least)
            ]
            stands.append(len(left) >= needed and sum(left) >= least)
        assert all(stands) == (silent == most)


def test_more_silent_sites_than_there_are_leave_no_group():
    with pytest.raises(SettingError, match=r"may leave 0 of 3 groups with a sum, of 0 sites"):
        check_dropout_rates(DropoutRates(0.0, 20), 9, 7, group_sizes(9))


def spreads(silent, sizes):
    """Yield each way of placing silent sites in groups."""
    if not sizes:
        yield from [()] if not silent else []
        return
    for here in range(min(silent, sizes[0]) + 1):
        yield from ((here, *rest) for rest in spreads(silent - here, sizes[1:]))
