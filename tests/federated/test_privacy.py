"""One epsilon for a federation: DP-SGD at each site, noise that sites share, and noise by the server."""

import copy
import errno
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import nn

from quintain.core.errors import PrivacyError, ProtocolError, RunFolderError, SettingError
from quintain.dp import Ledger, PrivacyUnits
from quintain.dp.accounting.distributed_gaussian import distributed_gaussian_rdp
from quintain.dp.accounting.gaussian import gaussian_epsilon
from quintain.dp.accounting.rdp import epsilon_from_rdp
from quintain.federated import (
    ClientNoise,
    FederatedConfig,
    HomomorphicSum,
    PlainMean,
    SecureSum,
    SitePrivacy,
    simulate,
)
from quintain.federated import client as client_program
from quintain.federated.noise import CentralNoise
from quintain.federated.privacy import client_level, site_level
from quintain.federated.secagg import FolderJournal
from quintain.federated.secagg.encoding import WORD_DTYPE
from quintain.federated.strategies.personal_head import PersonalHead
from quintain.federated.transport import DropoutStage
from quintain.training import Recipe
from tests.federated.settings import SHORT, Party, blobs, linear, partition, weights

SITE = SitePrivacy(8.0, steps=2, sample_rate=0.25)
NOISE = ClientNoise(clip_norm=0.5, noise_multiplier=2.0)


def four_sites():
    return partition(blobs(), 4, min_examples=10, min_per_class=1).sites


def private(**settings):
    return FederatedConfig(2, SHORT, **settings)


# -- DP-SGD at each site


def test_one_epsilon_is_the_largest_of_the_sites_and_within_the_target():
    sites, net = four_sites(), linear()
    run = simulate(sites, net, private(site_privacy=SITE))
    told = run.privacy
    assert set(told.epsilon_by_site) == set(sites)
    assert told.guarantee.epsilon == max(told.epsilon_by_site.values()) <= 8.0 * (1 + 1e-6)
    assert told.guarantee.epsilon > 0.9 * 8.0
    assert (told.guarantee.unit, told.guarantee.adjacency, told.guarantee.steps) == (
        "record",
        "add/remove",
        4,
    )
    assert not told.guarantee.reproducible
    assert told.guarantee.fixed_beforehand
    assert "a record at two sites pays for both" in told.notes[0]
    assert all(facts.simulated.exact for facts in run.rounds)
    assert not torch.equal(weights(net), weights(linear()))


def test_patients_are_the_unit_where_they_are_known():
    sites = four_sites()
    patients = {name: PrivacyUnits(np.arange(len(data)) // 4) for name, data in sites.items()}
    run = simulate(sites, linear(), private(site_privacy=SITE), units=patients)
    assert run.privacy.guarantee.unit == "patient"
    assert run.privacy.guarantee.num_units in {one.num_units for one in patients.values()}
    assert "a patient at two sites" in run.privacy.notes[0]
    wrong = {name: PrivacyUnits([1, 2, 3]) for name in sites}
    with pytest.raises(SettingError, match="got 3 keys of units"):
        simulate(sites, linear(), private(site_privacy=SITE), units=wrong)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (lambda units: {"hospital-1": units["hospital-1"]}, "lacks hospital-2, hospital-3, hospital-4"),
        (lambda units: {**units, "hospital_1": units["hospital-1"]}, "names hospital_1 and lacks none"),
        (
            lambda units: {name.replace("-", "_"): one for name, one in units.items()},
            "names hospital_1, .* lacks hospital-1, .*expected them for each of hospital-1",
        ),
        (lambda units: {}, "lacks hospital-1, "),
        (lambda units: {**units, "hospital-2": None}, "the units of 'hospital-2' = None"),
        (list, "units = "),
        (
            lambda units: {**units, "hospital-2": PrivacyUnits(range(80), name="group")},
            "patient at hospital-1, group at hospital-2, .*expected one kind",
        ),
    ],
)
def test_units_of_some_sites_alone_are_refused_before_any_training(given, match):
    sites = four_sites()
    patients = {name: PrivacyUnits(np.arange(len(data)) // 4) for name, data in sites.items()}
    net = linear()
    with pytest.raises(SettingError, match=match):
        simulate(sites, net, private(site_privacy=SITE), units=given(patients))
    assert torch.equal(weights(net), weights(linear()))


def test_ledgers_of_different_units_have_no_epsilon_in_common():
    patients, records, unused = Ledger(), _trained(SITE), Ledger()
    data = four_sites()["hospital-1"]
    SITE.train(linear(), data, 1, patients, PrivacyUnits(np.arange(len(data)) // 4))
    with pytest.raises(PrivacyError, match="a patient at a; a record at b, d; expected one unit"):
        site_level({"a": patients, "b": records, "c": unused, "d": records}, 1e-5)
    assert site_level({"a": patients, "c": unused}, 1e-5).guarantee.unit == "patient"


def test_an_abandoned_round_costs_nothing_more_since_its_updates_are_sent_again():
    run = simulate(
        four_sites(),
        linear(),
        private(site_privacy=SITE, min_survivors=4),
        dropouts={0: {"hospital-1": "unmask"}},
    )
    whole = simulate(four_sites(), linear(), private(site_privacy=SITE))
    assert run.rounds[0].abort_reason == whole.rounds[0].abort_reason == ""
    lost = simulate(
        four_sites(),
        linear(),
        private(site_privacy=SITE, threshold=4, min_survivors=4),
        dropouts={0: {"hospital-1": "masked"}},
    )
    assert lost.rounds[0].abort_reason
    assert lost.privacy.guarantee.steps == whole.privacy.guarantee.steps - SITE.steps


def test_what_was_spent_survives_a_restart_of_the_site_and_bounds_it(tmp_path):
    party = Party(config=FederatedConfig(1, SHORT, site_privacy=SITE))
    file = tmp_path / "update"
    party.clients[0] = party.client("hospital-1", update_file=file)
    party.server().run_round(party.network())
    spent = party.clients[0].ledger
    again = party.client("hospital-1", update_file=file)
    assert again.ledger.releases == spent.releases
    assert again.ledger.steps == SITE.steps
    with pytest.raises(PrivacyError, match="the budget is spent"):
        again._train_privately(linear())
    assert again.ledger.steps == SITE.steps


def test_a_simulation_that_is_killed_goes_on_with_what_it_had_spent(tmp_path):
    def stop(_facts, _sum):
        raise KeyboardInterrupt

    config = private(site_privacy=SITE)
    with pytest.raises(KeyboardInterrupt):
        simulate(four_sites(), linear(), config, folder=tmp_path, on_round=stop)
    run = simulate(four_sites(), linear(), config, folder=tmp_path)
    assert run.privacy.guarantee.steps == 2 * SITE.steps
    assert run.privacy.guarantee.epsilon <= 8.0 * (1 + 1e-6)
    again = simulate(four_sites(), linear(), config, folder=tmp_path)
    assert again.privacy.epsilon_by_site == run.privacy.epsilon_by_site


def test_a_simulation_whose_ledger_was_deleted_is_refused(tmp_path):
    """A damaged file is not to be deleted here, and what it had counted is not forgotten."""
    seen = []

    def stop(facts, _sum):
        seen.append(facts)
        if len(seen) == 3:
            raise KeyboardInterrupt

    config = FederatedConfig(4, SHORT, site_privacy=SITE)
    with pytest.raises(KeyboardInterrupt):
        simulate(four_sites(), linear(), config, folder=tmp_path, on_round=stop)
    file = tmp_path / "site-1"
    file.write_bytes(b"damaged")
    with pytest.raises(RunFolderError, match="A simulation has it nowhere else: start it anew in another"):
        simulate(four_sites(), linear(), config, folder=tmp_path)
    file.unlink()
    with pytest.raises(PrivacyError, match=r"hospital-2 in .*site-1 holds 0 steps; expected at least 4"):
        simulate(four_sites(), linear(), config, folder=tmp_path)


def test_a_site_that_failed_in_a_round_goes_on_without_the_steps_of_that_round(tmp_path, monkeypatch):
    sites, seen, real = four_sites(), [], client_program.local_update

    def failing(net, data, *args, **kwargs):
        seen.append(data is sites["hospital-1"])
        if seen[-1] and sum(seen) == 2:
            raise ProtocolError("no training now")
        return real(net, data, *args, **kwargs)

    def stop(facts, _sum):
        if facts.index == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(client_program, "local_update", failing)
    config = FederatedConfig(4, SHORT, site_privacy=SITE)
    with pytest.raises(KeyboardInterrupt):
        simulate(sites, linear(), config, folder=tmp_path, on_round=stop)
    run = simulate(sites, linear(), config, folder=tmp_path)
    assert [len(one.survivors) for one in run.rounds] == [4, 3, 4, 4]
    assert run.privacy.guarantee.steps == 4 * SITE.steps


@pytest.mark.parametrize("damage", [None, b"", b"[3]", b"{"])
def test_a_restart_without_its_files_makes_no_budget_whole_again(damage, tmp_path):
    """The journal alone is left, also where a crash has cut off what it says of a round."""
    party = Party(config=FederatedConfig(2, SHORT, site_privacy=SITE), folder=tmp_path)
    server = party.server()
    for _ in range(2):
        party.clients[0] = party.client("hospital-1", joins_late=True)
        assert len(server.run_round(party.network()).survivors) == 4
    spent = party.clients[0].ledger
    assert spent.steps == 2 * SITE.steps
    assert spent.epsilon(1e-5) == pytest.approx(party.clients[1].ledger.epsilon(1e-5), rel=0.1)
    for note in (tmp_path / "hospital-1").glob("*.spent-1"):
        if damage is not None:
            note.write_bytes(damage)
    again = party.client("hospital-1")
    assert again.ledger.releases == spent.releases
    with pytest.raises(PrivacyError, match="the budget is spent"):
        again._train_privately(linear())
    another = party.plan(config=FederatedConfig(3, SHORT, site_privacy=SITE))
    assert party.client("hospital-1", plan=another).ledger.steps == 0


def test_a_private_round_that_could_not_be_noted_has_spent_nothing(tmp_path, monkeypatch):
    """The disk is full at the note of the first round; the site is in the second, and starts again."""
    party = Party(config=FederatedConfig(2, SHORT, site_privacy=SITE), folder=tmp_path)
    file, made = tmp_path / "update", FolderJournal._create_note
    party.clients[0] = party.client("hospital-1", update_file=file)
    server = party.server()

    def full(journal, name, content):
        if journal._folder.name == "hospital-1" and ".spent-" in name:
            raise OSError(errno.ENOSPC, "No space left on device")
        return made(journal, name, content)

    monkeypatch.setattr(FolderJournal, "_create_note", full)
    assert server.run_round(party.network()).dropped == ("hospital-1",)
    monkeypatch.undo()
    assert server.run_round(party.network()).dropped == ()
    assert party.clients[0].ledger.steps == SITE.steps
    assert party.client("hospital-1", update_file=file).ledger.steps == SITE.steps


def test_a_deleted_update_file_leaves_the_ledger_in_the_journal(tmp_path):
    party = Party(config=FederatedConfig(2, SHORT, site_privacy=SITE), folder=tmp_path)
    file = tmp_path / "update"
    party.clients[0] = party.client("hospital-1", update_file=file)
    party.server().run_round(party.network())
    spent = party.clients[0].ledger
    file.write_bytes(b"damaged")
    with pytest.raises(RunFolderError, match="with a FolderJournal has that in its journal: delete the file"):
        party.client("hospital-1", update_file=file)
    file.unlink()
    assert party.client("hospital-1", update_file=file).ledger.releases == spent.releases


def test_two_programs_with_one_journal_share_one_budget(tmp_path):
    party = Party(config=FederatedConfig(2, SHORT, site_privacy=SITE), folder=tmp_path)
    one, other = party.client("hospital-1"), party.client("hospital-1")
    one._train_privately(linear())
    other._train_privately(linear())
    assert other.ledger.steps == 2 * SITE.steps
    with pytest.raises(PrivacyError, match="the budget is spent"):
        one._train_privately(linear())


def test_a_site_whose_budget_is_spent_is_silent_and_the_others_go_on():
    party = Party(config=FederatedConfig(1, SHORT, site_privacy=SITE))
    party.clients[1].ledger.record(replace(_trained(SITE).releases[0], steps=2))
    network = party.network()
    report = party.server().run_round(network)
    assert report.dropped == ("hospital-2",)
    assert "the budget is spent" in network.failures["hospital-2"]


def _trained(settings):
    ledger = Ledger()
    settings.train(linear(), four_sites()["hospital-1"], 1, ledger)
    return ledger


def test_each_site_has_the_least_noise_for_its_own_records():
    few, many = SITE.plan(40, 5), SITE.plan(4000, 5)
    assert (few.expected_batch_size, many.expected_batch_size) == (10, 1000)
    assert few.steps == many.steps == 2
    assert few.noise_multiplier == pytest.approx(many.noise_multiplier, rel=1e-6)
    assert SITE.plan(40, 50).noise_multiplier > few.noise_multiplier


def test_a_clients_terms_hold_the_privacy_and_another_one_is_refused_by_name():
    party = Party(config=FederatedConfig(1, SHORT, site_privacy=SITE))
    less = party.plan(config=FederatedConfig(1, SHORT, site_privacy=replace(SITE, epsilon=80.0)))
    party.clients[0] = party.client("hospital-1", plan=less)
    network = party.network()
    report = party.server().run_round(network)
    assert report.dropped == ("hospital-1",)
    assert "recipe" in network.failures["hospital-1"]


@pytest.mark.parametrize(
    "changes",
    [
        {"epsilon": 0.0},
        {"epsilon": -1.0},
        {"epsilon": float("nan")},
        {"delta": 0.0},
        {"delta": 1.0},
        {"sample_rate": 0.0},
        {"sample_rate": 1.5},
        {"steps": 0},
        {"max_grad_norm": 0.0},
        {"learning_rate": 0.0},
        {"momentum": 1.0},
        {"epsilon": "3"},
    ],
)
def test_site_settings_that_cannot_hold_are_refused(changes):
    with pytest.raises(SettingError, match="expected"):
        replace(SITE, **changes)


# -- noise on the sums


@pytest.mark.parametrize("aggregation", [SecureSum, HomomorphicSum])
def test_noise_that_sites_share_is_in_the_sum_and_in_the_model(aggregation):
    sites, sums = four_sites(), []
    run = simulate(
        sites,
        linear(),
        private(client_noise=NOISE),
        aggregation=aggregation(),
        on_round=lambda _facts, found: sums.append(found),
    )
    assert all(facts.simulated.exact for facts in run.rounds)
    told = run.privacy
    assert told.guarantee.unit == "client"
    assert told.guarantee.steps == 2
    # three honest sites of four hold the whole noise: the exact Gaussian's epsilon is near
    exact = gaussian_epsilon(2.0 / np.sqrt(2), 1e-5)
    assert exact <= told.guarantee.epsilon <= 1.3 * exact
    # each sum holds noise of about z * clip_norm in every entry, more for the fourth share
    spread = np.std(sums[0].total)
    assert 0.7 < spread / (2.0 * 0.5 * np.sqrt(4 / 3)) < 1.5


def test_one_updates_norm_is_bounded_whatever_its_length():
    party = Party(config=private(client_noise=ClientNoise(0.5, 1e-3)))
    plan = party.plan()
    words = plan.noise.encode_update(1e6 * np.ones(plan.length), plan.encoding, 1.0)
    found = plan.encoding.decode(plan.encoding.to_signed(words))
    assert np.linalg.norm(found) == pytest.approx(0.5, rel=0.05)
    light = plan.noise.encode_update(1e6 * np.ones(plan.length), plan.encoding, 0.5)
    found = plan.encoding.decode(plan.encoding.to_signed(light))
    assert np.linalg.norm(found) == pytest.approx(0.25, rel=0.05)
    with pytest.raises(SettingError, match="expected that of the noise"):
        plan.noise.encode_update(np.ones(plan.length), replace(plan.encoding, scale=7), 1.0)


def test_no_sum_with_less_noise_than_promised_is_opened():
    config = private(client_noise=replace(NOISE, max_dropped=1))
    run = simulate(four_sites(), linear(), config, dropouts={0: {"hospital-1": "masked"}})
    assert not run.rounds[0].abort_reason
    fewer = simulate(
        four_sites(), linear(), private(client_noise=NOISE), dropouts={0: {"hospital-1": "masked"}}
    )
    assert "4 are needed" in fewer.rounds[0].abort_reason
    assert fewer.rounds[0].survivors == ()
    # what may have been opened counts
    assert fewer.privacy.guarantee.steps == 2


def test_every_sites_share_is_drawn_anew_and_kept_over_one_model():
    party = Party(config=private(client_noise=NOISE))
    plan = party.plan()
    same = np.zeros(plan.length)
    first = plan.noise.encode_update(same, plan.encoding, 1.0)
    assert (first != plan.noise.encode_update(same, plan.encoding, 1.0)).any()
    network = party.network()
    party.server().run_round(network)
    before = party.clients[0].update
    party.server().run_round(party.network())
    assert party.clients[0].update is before


def test_a_client_that_missed_a_round_takes_the_noisy_model_of_it():
    """The model may move by more than the clip of plain sums, as far as the noise reaches."""
    given = {"hospital-1": 3, "hospital-2": 3, "hospital-3": 3, "hospital-4": 2}
    config = FederatedConfig(
        3, SHORT, weights=given, client_noise=ClientNoise(50.0, 1.0, max_dropped=1), max_corrupt=0
    )
    party = Party(config=config)
    server = party.server()
    before = weights(party.net).clone()
    assert not server.run_round(party.network()).abort_reason
    assert not server.run_round(party.network({0: DropoutStage.MASKED})).abort_reason
    # the first client hears of the third round only: its chain ends at the first model
    party.clients[0]._chain = party.client("hospital-1")._chain
    report = server.run_round(party.network())
    assert report.survivors == tuple(party.sites)
    assert (weights(party.net) - before).abs().max() > 3


def test_noise_by_the_server_is_in_what_it_publishes_and_in_the_model(monkeypatch):
    config = private(client_noise=replace(NOISE, added_by="server"))
    party = Party(config=config)
    bare, server = [], party.server()
    monkeypatch.setattr(
        CentralNoise, "add_noise", lambda self, integers: bare.append(integers) or integers + 1000
    )
    report = server.run_round(party.network())
    assert not report.abort_reason
    np.testing.assert_array_equal(server.state.published.integers, bare[0] + 1000)
    # without the patch the noise is that of z times the sensitivity
    monkeypatch.undo()
    noise = party.plan().noise
    drawn = noise.add_noise(np.zeros(noise.length, np.int64))
    assert 0.6 < np.std(drawn) / (2.0 * noise.sensitivity) < 1.5
    assert isinstance(noise, CentralNoise)


@pytest.mark.parametrize("aggregation", [PlainMean, SecureSum])
def test_noise_by_the_server_costs_the_same_whoever_drops_out(aggregation):
    config = private(client_noise=replace(NOISE, added_by="server"))
    one = simulate(
        four_sites(),
        linear(),
        config,
        aggregation=aggregation(),
        dropouts={0: {"hospital-1": "masked"}},
    )
    other = simulate(four_sites(), linear(), config, aggregation=aggregation())
    assert one.privacy.guarantee.epsilon == other.privacy.guarantee.epsilon
    assert gaussian_epsilon(2.0 / np.sqrt(2), 1e-5) <= one.privacy.guarantee.epsilon
    assert "the server sees the sums without noise" in one.privacy.notes[0]
    # less noise than where sites share it and one may be corrupt
    shared = private(client_noise=NOISE)
    assert one.privacy.relative_noise < Party(config=shared).plan().noise.relative_noise(4)


def test_below_fifty_sites_privacy_of_whole_sites_is_called_useless():
    few = NOISE.on_sums(20_000, 5, 1)
    told = client_level(NOISE, few, [5], SecureSum(), 5)
    assert "with 5 sites, privacy of whole sites is useless" in told.notes[-1]
    assert f"{few.relative_noise(5):.3g} times as long" in told.notes[-1]
    assert few.relative_noise(5) == pytest.approx(2.0 * np.sqrt(20_000 / 5 / 4), rel=0.2)
    many = NOISE.on_sums(20_000, 60, 1)
    assert not any("useless" in note for note in client_level(NOISE, many, [60], SecureSum(), 60).notes)


def test_a_sum_that_one_colluding_site_undoes_is_not_said_to_stand_one():
    noise = NOISE.on_sums(100, 60, 1)
    assert (
        "no more than 1 of the sites side with" in client_level(NOISE, noise, [60], SecureSum(), 60).notes[0]
    )
    told = client_level(NOISE, noise, [60], HomomorphicSum(), 60).notes[0]
    assert "no site sides with the server, and the server keeps to the protocol" in told


def test_epsilon_of_shared_noise_holds_against_a_site_that_knows_its_own_share():
    """Two sites that trust each other with sums: to each the other's share is all the noise that there is."""
    sites = partition(blobs(), 2, min_examples=10, min_per_class=1).sites
    run = simulate(sites, linear(), private(client_noise=NOISE, max_corrupt=0))
    noise = NOISE.on_sums(len(weights(linear())), 2, 0)
    left = distributed_gaussian_rdp(1, noise.variance, noise.sensitivity, noise.length)
    assert run.privacy.guarantee.epsilon == pytest.approx(epsilon_from_rdp(2 * left, 1e-5))
    assert run.privacy.guarantee.epsilon < 3.5
    assert "no site sides with the server or with another site" in run.privacy.notes[0]
    assert "all shares of the noise but 1 count" in run.privacy.notes[0]


def test_shares_of_noise_are_refused_where_the_server_sees_each_vector():
    with pytest.raises(SettingError, match="which one share does not hide"):
        simulate(four_sites(), linear(), private(client_noise=NOISE), aggregation=PlainMean())


def test_noise_that_the_server_adds_is_refused_where_sites_see_the_sum_before_it():
    late = private(client_noise=replace(NOISE, added_by="server"))
    with pytest.raises(SettingError, match="sites open the sum before that and see it without noise"):
        simulate(four_sites(), linear(), late, aggregation=HomomorphicSum())


def test_what_a_strategy_leaves_at_the_sites_is_not_said_to_be_covered():
    run = simulate(four_sites(), linear(), private(client_noise=NOISE, strategy=PersonalHead()))
    assert "what personal-head leaves there" in run.privacy.notes[-1]
    assert "have no noise" in run.privacy.notes[-1]
    whole = simulate(four_sites(), linear(), private(client_noise=NOISE))
    assert not any("have no noise" in note for note in whole.privacy.notes)


def test_one_kind_of_privacy_is_set():
    with pytest.raises(SettingError, match="expected one of them"):
        private(client_noise=NOISE, site_privacy=SITE)
    with pytest.raises(SettingError, match="site_privacy = 3"):
        private(site_privacy=3)


@pytest.mark.parametrize(
    "changes",
    [
        {"clip_norm": 0.0},
        {"clip_norm": float("inf")},
        {"noise_multiplier": 0.0},
        {"noise_multiplier": -1.0},
        {"delta": 0.0},
        {"max_dropped": -1},
        {"added_by": "nobody"},
        {"clip_norm": "1"},
    ],
)
def test_noise_settings_that_cannot_hold_are_refused(changes):
    with pytest.raises(SettingError, match="expected"):
        replace(NOISE, **changes)


def test_the_words_of_central_noise_are_without_noise():
    noise = replace(NOISE, added_by="server", noise_multiplier=1.0).on_sums(50, 3, 1)
    vector = np.random.default_rng(1).normal(size=50) / 50
    total = np.sum([noise.encode(vector).astype(np.int64) for _ in range(3)], axis=0).astype(WORD_DTYPE)
    found = noise.encoding.decode(noise.encoding.to_signed(total))
    np.testing.assert_allclose(found, 3 * vector, atol=4 / noise.scale)


def test_the_largest_ledger_speaks_for_all_sites():
    ledgers = {"a": _trained(SITE), "b": _trained(replace(SITE, epsilon=1.0))}
    told = site_level(ledgers, 1e-5)
    assert told.guarantee.epsilon == told.epsilon_by_site["a"] > told.epsilon_by_site["b"]


def test_a_delta_that_gives_away_a_record_of_some_site_is_told_whoever_has_the_largest_epsilon():
    ledgers = {"few": _trained(SITE), "many": _trained(replace(SITE, epsilon=1.0))}
    assert not any("publishing" in note for note in site_level(ledgers, 1e-5).notes)
    whole = Ledger.guarantee

    def of_sizes(ledger, delta):
        return replace(whole(ledger, delta), num_units=1000 if ledger is ledgers["many"] else 10)

    with patch.object(Ledger, "guarantee", of_sizes):
        told = site_level(ledgers, 0.01)
    assert told.guarantee.epsilon == told.epsilon_by_site["few"]
    assert told.notes[-1].startswith("many: delta = 0.01 is not below 1/1000: publishing one random")


@pytest.mark.parametrize("sites_with_one", [3, 4, 7])
def test_of_many_warnings_on_single_sites_three_are_shown_and_all_are_counted(sites_with_one):
    ledger = _trained(SITE)
    plain = ledger.guarantee(1e-5)
    ledgers = {f"site-{i}": copy.copy(ledger) for i in range(8)}
    warned = {id(one) for one in list(ledgers.values())[1 : 1 + sites_with_one]}

    def with_warnings(ledger, _delta):
        return replace(plain, num_units=1000 if id(ledger) in warned else 10, delta=0.01)

    with patch.object(Ledger, "guarantee", with_warnings):
        notes = site_level(ledgers, 0.01).notes[2:]
    assert [note.partition(":")[0] for note in notes[:3]] == ["site-1", "site-2", "site-3"]
    more = (f"warnings on single sites: {sites_with_one} in all",)
    assert notes[3:] == (more if sites_with_one > 3 else ())


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (10, 10, 14, 14)])
def test_the_stated_length_of_the_noise_is_that_of_averages(sizes):
    """Updates that are next to nothing: what moves the model is noise alone, of 3,920 numbers."""
    sites = four_sites()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(6, 300), nn.Linear(300, 6), nn.Linear(6, 2))
    still = Recipe(epochs=1, batch_size=10_000, learning_rate=1e-12, optimizer="sgd")
    config = FederatedConfig(1, still, client_noise=NOISE, weights=dict(zip(sites, sizes, strict=True)))
    before = torch.cat([one.detach().flatten() for one in net.parameters()]).clone()
    run = simulate(sites, net, config)
    moved = torch.cat([one.detach().flatten() for one in net.parameters()]) - before
    assert float(moved.norm()) / NOISE.clip_norm == pytest.approx(run.privacy.relative_noise, rel=0.1)
