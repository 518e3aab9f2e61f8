"""Who falls silent in the rounds of a simulated federated training."""

import pytest

from quintain.core.errors import SettingError
from quintain.evaluate.dropouts import Silence, check_silence, planned_dropouts
from quintain.federated import HomomorphicSum, PlainMean, SecureSum
from quintain.federated.transport import DropoutStage

TEN = [f"site-{i}" for i in range(10)]


def test_thirty_percent_of_ten_sites_drop_out_of_each_round_at_all_stages_in_turn():
    planned = planned_dropouts(TEN, 5, Silence(0.3), SecureSum.replies, seed=0)
    assert [len(one) for one in planned.values()] == [3] * 5
    stages = [stage for one in planned.values() for stage in one.values()]
    assert {stages.count(stage) for stage in DropoutStage if stage is not DropoutStage.LATE} == {3}
    assert len({frozenset(one) for one in planned.values()}) > 1
    assert planned == planned_dropouts(TEN, 5, Silence(0.3), SecureSum.replies, seed=0)
    assert planned != planned_dropouts(TEN, 5, Silence(0.3), SecureSum.replies, seed=1)


def test_stragglers_are_other_sites_whose_vector_is_late():
    planned = planned_dropouts(TEN, 3, Silence(0.1, 2), SecureSum.replies, seed=0)
    for one in planned.values():
        assert sorted(stage is DropoutStage.LATE for stage in one.values()) == [False, True, True]
    assert planned_dropouts(TEN, 3, Silence(0.05), SecureSum.replies, seed=0) == {}


@pytest.mark.parametrize("aggregation", [PlainMean, HomomorphicSum, SecureSum])
def test_sites_drop_out_at_messages_that_the_aggregation_has(aggregation):
    planned = planned_dropouts(TEN, 5, Silence(0.3), aggregation.replies, seed=0)
    assert {stage.first_missing for one in planned.values() for stage in one.values()} == set(
        aggregation.replies
    )


def test_silence_that_leaves_no_sum_is_refused():
    check_silence(Silence(0.3), 10, 7)
    for silence in (Silence(0.4), Silence(0.3, 1), Silence(0, 4)):
        with pytest.raises(SettingError, match="4 of 10 sites in each round, and a sum needs 7"):
            check_silence(silence, 10, 7)
    for wrong in ((1.0, 0), (-0.1, 0), (0.1, -1)):
        with pytest.raises(SettingError):
            Silence(*wrong)
