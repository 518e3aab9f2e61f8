"""A simulated training that is killed goes on with the same rounds, and ends as one that was not."""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch

from quintain.core.errors import MechanismError, ProtocolError, RunFolderError
from quintain.dp import PrivacyUnits
from quintain.federated import ClientNoise, FederatedConfig, PlainMean, SitePrivacy, simulate
from quintain.federated import client as client_program
from quintain.federated.byzantine import UPDATE_ATTACKS
from quintain.federated.partitioning import partition
from quintain.federated.secagg import client_shares
from tests.federated.settings import SHORT, Killed, blobs, linear, weights

SITES = partition(blobs(), 5, min_examples=10, min_per_class=1).sites
CONFIG = FederatedConfig(4, SHORT)
DROPOUTS = {0: {"hospital-1": "unmask"}, 1: {"hospital-2": "masked"}, 2: {"hospital-4": "late"}}


def trained(net, **settings):
    given = {"dropouts": DROPOUTS, **settings}
    config = given.pop("config", CONFIG)
    return simulate(given.pop("sites", SITES), net, config, **{"seed": 3, **given})


def timeless(run):
    rounds = [replace(one, seconds=0.0) for one in run.rounds]
    return replace(run, rounds=tuple(rounds))


def killed_at(count, monkeypatch, folder, **settings):
    """Let the process end in the training of the site that is trained as number ``count``."""
    real, calls = client_program.local_update, []

    def dying(*args, **kwargs):
        calls.append(1)
        if len(calls) == count:
            raise Killed
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(client_program, "local_update", dying)
        with pytest.raises(Killed):
            trained(linear(), folder=folder, **settings)


def counted(monkeypatch):
    real, names = client_program.local_update, []

    def counting(net, data, *args, **kwargs):
        names.append(data.name)
        return real(net, data, *args, **kwargs)

    monkeypatch.setattr(client_program, "local_update", counting)
    return names


@pytest.fixture(scope="module")
def unbroken():
    """The model and the reports of the training that is not killed."""
    net = linear()
    return net, trained(net)


@pytest.mark.parametrize("count", [1, 3, 5, 6, pytest.param(11, marks=pytest.mark.exhaustive), 18])
def test_a_killed_training_goes_on_and_ends_with_the_same_model_and_reports(
    count, unbroken, monkeypatch, tmp_path
):
    (whole, expected), net = unbroken, linear()
    killed_at(count, monkeypatch, tmp_path)
    names, told = counted(monkeypatch), []
    run = trained(net, folder=tmp_path, on_round=lambda facts, _: told.append(facts.index))
    assert torch.equal(weights(net), weights(whole))
    assert timeless(run) == timeless(expected)
    assert told == list(range((count - 1) // 5, 4))
    assert len(names) == 4 * 5 - (count - 1)
    assert [list(one.simulated.exposed) for one in run.rounds[1:3]] == [["hospital-2"], []]


@pytest.mark.parametrize("reused", [False, True], ids=["fresh seeds", "seeds of the round before"])
def test_secrets_that_were_revealed_before_the_kill_are_tried_after_it(reused, monkeypatch, tmp_path):
    """The seeds of all sites are opened in the first round; one is late in the second."""
    settings = {"config": replace(CONFIG, rounds=2), "dropouts": {1: {"hospital-2": "late"}}}
    fresh, seeds = client_shares.random_bytes, []

    def kept(*given):
        place = len(seeds) - 5
        seeds.append(seeds[place] if reused and place >= 0 else bytes(fresh(*given)))
        return seeds[-1]

    monkeypatch.setattr(client_shares, "random_bytes", kept)
    killed_at(6, monkeypatch, tmp_path, **settings)
    assert len(seeds) == 5
    alarm = pytest.raises(MechanismError, match="vector of 'hospital-2'") if reused else nullcontext()
    with alarm:
        trained(linear(), folder=tmp_path, **settings)


def test_updates_over_a_model_that_has_not_moved_are_kept_over_a_restart(monkeypatch, tmp_path):
    """The first round is abandoned: the second sends the updates that were trained for the first."""
    config = replace(CONFIG, min_survivors=5)
    settings = {"config": config, "dropouts": {0: {"hospital-1": "masked"}}}
    whole, net = linear(), linear()
    expected = trained(whole, **settings)
    assert expected.rounds[0].abort_reason
    killed_at(6, monkeypatch, tmp_path, **settings)
    names = counted(monkeypatch)
    assert timeless(trained(net, folder=tmp_path, **settings)) == timeless(expected)
    assert torch.equal(weights(net), weights(whole))
    assert len(names) == 2 * 5


def test_a_finished_training_is_not_done_again(monkeypatch, tmp_path):
    first, second = linear(), linear()
    before = trained(first, folder=tmp_path)
    names = counted(monkeypatch)
    assert trained(second, folder=tmp_path) == before
    assert torch.equal(weights(first), weights(second))
    assert names == []


def test_a_folder_of_another_training_is_refused(tmp_path):
    trained(linear(), folder=tmp_path)
    others = {
        "seed": {"seed": 4},
        "dropouts": {"dropouts": {}},
        "data": {"sites": dict(zip(SITES, reversed(SITES.values()), strict=True))},
        "recipe": {"config": replace(CONFIG, local_recipe=replace(SHORT, epochs=2))},
        "aggregation": {"aggregation": PlainMean()},
        "malicious sites": {"byzantine": {"hospital-1": UPDATE_ATTACKS["sign flip"]}},
    }
    for settings in others.values():
        with pytest.raises(RunFolderError, match="a training under other terms"):
            trained(linear(), folder=tmp_path, **settings)
    with pytest.raises(RunFolderError, match="a training under other terms"):
        trained(linear(8), folder=tmp_path)


OTHERS = {
    "seed": {"seed": 4},
    "data": {"sites": {**SITES, "hospital-1": SITES["hospital-1"].subset(np.arange(1, 40))}},
    "noise": {"config": replace(CONFIG, client_noise=ClientNoise(0.5, 2.0, max_dropped=1))},
    "private training": {"config": replace(CONFIG, site_privacy=SitePrivacy(2.0, steps=2))},
    "aggregation": {"aggregation": PlainMean()},
    "malicious sites": {"byzantine": {"hospital-1": UPDATE_ATTACKS["sign flip"]}},
    "units": {"units": {name: PrivacyUnits(np.arange(len(one)) // 2) for name, one in SITES.items()}},
}


@pytest.mark.parametrize("term", OTHERS)
def test_a_training_that_was_killed_in_its_first_round_is_not_gone_on_with_under_other_terms(
    term, monkeypatch, tmp_path
):
    """Its updates were made without that noise, say, and would be sent as if they had it."""
    killed_at(3, monkeypatch, tmp_path)
    names = counted(monkeypatch)
    with pytest.raises(RunFolderError, match="a training under other terms"):
        trained(linear(), folder=tmp_path, **OTHERS[term])
    (tmp_path / "federated.safetensors").unlink()
    with pytest.raises(RunFolderError, match=r"site-0 is an update of a training whose federated\S+ is miss"):
        trained(linear(), folder=tmp_path, **OTHERS[term])
    assert names == []


def test_a_damaged_update_is_refused_by_name(tmp_path):
    trained(linear(), folder=tmp_path)
    file = tmp_path / "site-2"
    assert file.stat().st_mode & 0o077 == 0
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(RunFolderError, match="site-2 is not what was written"):
        trained(linear(), folder=tmp_path)


def test_the_plain_sum_trains_the_same_model_and_says_what_the_server_saw(unbroken):
    (secure, one), plain = unbroken, linear()
    other = trained(plain, aggregation=PlainMean())
    assert torch.equal(weights(secure), weights(plain))
    for mine, theirs in zip(one.rounds[1:], other.rounds[1:], strict=True):
        assert mine.survivors == theirs.survivors
        assert mine.simulated.losses == theirs.simulated.losses
        assert (mine.masked_vectors > 0, theirs.masked_vectors) == (True, 0)
        assert theirs.simulated.exact


def test_with_the_plain_sum_a_round_below_the_minimum_is_abandoned():
    config = FederatedConfig(1, SHORT, min_survivors=5)
    with pytest.raises(ProtocolError, match="4 of 5 sites sent a vector; 5 are needed"):
        trained(linear(), config=config, aggregation=PlainMean(), dropouts={0: {"hospital-2": "keys"}})


def test_a_training_with_a_malicious_site_goes_on_with_that_very_site_alone(tmp_path):
    malicious = {"hospital-1": UPDATE_ATTACKS["sign flip"]}
    trained(linear(), folder=tmp_path, byzantine=malicious)
    trained(linear(), folder=tmp_path, byzantine=malicious)
    for other in (
        {},
        {"hospital-1": UPDATE_ATTACKS["scaled update"]},
        {"hospital-2": UPDATE_ATTACKS["sign flip"]},
    ):
        with pytest.raises(RunFolderError, match="a training under other terms"):
            trained(linear(), folder=tmp_path, byzantine=other)
