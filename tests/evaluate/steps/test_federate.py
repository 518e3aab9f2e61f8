"""Sites that train together."""

import pytest
from torch import nn

from quintain.core.errors import SettingError
from quintain.evaluate.federation_defaults import default_strategy
from quintain.evaluate.steps.federate import run_federate
from quintain.federated import ClientNoise
from quintain.models.nets import xray_cnn


def test_sites_that_train_together(train, tmp_path):
    seen = run_federate(xray_cnn(), train, train, sites=4, rounds=3, epochs=1, folder=tmp_path)
    body = seen.result
    assert [one.round for one in body.rounds] == [1, 2, 3]
    assert all(one.sum_exact for one in body.rounds)
    assert [len(one.dropped) for one in body.rounds] == [0, 1, 0]
    assert body.rounds[1].masked_vectors == 3
    assert sum(sum(site.class_counts) for site in body.sites) == len(train)
    assert len(body.sites) == 4
    assert "Bonawitz" in body.protocol
    assert (
        "a site has at most 50% of a sum's weight, in the smallest sum less what 1 of its sites may take off "
        "it" in seen.notes
    )
    (cut,) = [
        note
        for note in seen.notes
        if note.startswith("weights are numbers of examples, cut where a sum would come near to")
    ]
    counts = {site.name: sum(site.class_counts) for site in body.sites}
    least = min(
        counts.values()
    )  # three of four survive and one of them may be the server's: only equal weights hide the other two
    assert all(
        f"{name} weighs {least} and not {count}" in cut for name, count in counts.items() if count > least
    )
    told = [
        note for note in seen.notes if note.startswith(f"{body.rounds[1].dropped[0]} is in the sum of round")
    ]
    assert len(told) == 2
    assert all("secure sums do not hide that, differential privacy does" in note for note in told)
    assert (tmp_path / body.model.path).exists()


@pytest.mark.parametrize(
    ("privacy", "rounds", "strategy"), [(None, 12, "fedavgm"), (ClientNoise(0.5, 1.0), 6, "fedavg")]
)
def test_rounds_that_spend_privacy_are_fewer_by_default_and_take_no_momentum(
    train, tmp_path, privacy, rounds, strategy
):
    net = nn.Sequential(nn.AvgPool2d(7), nn.Flatten(), nn.Linear(16, 2)).eval()
    seen = run_federate(net, train, train, sites=3, privacy=privacy, folder=tmp_path)
    assert [one.round for one in seen.result.rounds] == list(range(1, rounds + 1))
    assert seen.result.strategy == strategy


def test_robust_averages_take_no_momentum_by_default():
    assert default_strategy(is_private=False, robust="median") == "fedavg"


def test_no_rounds_are_refused_and_not_taken_for_the_usual_number(train, tmp_path):
    with pytest.raises(SettingError, match="rounds = 0; expected at least 1"):
        run_federate(xray_cnn(), train, train, sites=4, rounds=0, folder=tmp_path)
