"""A server that is killed goes on: with the same rounds, to the same model, and nothing more is revealed."""

from dataclasses import replace

import pytest
import torch

from quintain.core.errors import RunFolderError, SabotageError
from quintain.federated import DropoutStage, FederatedConfig, PlainMean, RoundSum, Server
from quintain.federated.aggregation import Aggregation
from quintain.federated.secagg import Identity, Roster
from quintain.federated.secagg_sum import SecureSum
from tests.federated.settings import SHORT, Killed, Party, linear, weights

ROUNDS = 3
STAGES = [
    pytest.param(stop, answered, marks=() if (stop + answered) % 2 else pytest.mark.exhaustive)
    for stop in range(1, 5)
    for answered in (False, True)
]
"""Each stage by default once, before its messages leave or with the replies by turns."""


def undisturbed():
    party = Party()
    server = party.server()
    while not server.is_finished:
        assert server.run_round(party.network()).abort_reason == ""
    return weights(party.net)


@pytest.fixture(scope="module")
def expected():
    return undisturbed()


@pytest.mark.parametrize(("stop", "answered"), [(-1, True), *STAGES])
def test_a_server_killed_at_any_stage_ends_with_the_same_model(stop, answered, expected, tmp_path):
    """In the second round; with the fifth stage answered it had the sum, and its clients open no other."""
    party = Party(folder=tmp_path)
    file = tmp_path / "server.safetensors"
    server = party.server(file)
    server.run_round(party.network())
    killed = party.stopping(stop, answered)
    with pytest.raises(Killed):
        server.run_round(killed)
    vectors = [client.update.encoded.copy() for client in party.clients]

    server = party.server(file)
    assert len(server.state.reports) == 1
    again = party.network()
    report = server.run_round(again)
    assert (report.index, report.abort_reason, report.survivors) == (1, "", tuple(party.sites))
    assert server.state.next_counter == 3
    for client, vector in zip(party.clients, vectors, strict=True):
        assert (client.update.encoded == vector).all()
    server.run_round(party.network())
    assert server.is_finished
    assert torch.equal(weights(party.net), expected)
    assert party.server(file).is_finished


def test_a_server_killed_with_the_sum_in_its_hands_gets_no_sum_of_other_survivors(tmp_path):
    """Four have answered; then one is gone. The difference of two sums would be its update."""
    party = Party(folder=tmp_path)
    file = tmp_path / "server.safetensors"
    with pytest.raises(Killed):
        party.server(file).run_round(party.stopping(4, True))
    server = party.server(file)
    gone = party.network({1: DropoutStage.MASKED})
    report = server.run_round(gone)
    assert "sites signed the survivors" in report.abort_reason
    assert all("has helped to open the sum of other survivors" in why for why in gone.refusals.values())
    assert len(gone.refusals) == 3
    assert torch.equal(weights(party.net), weights(linear()))
    whole = server.run_round(party.network())
    assert whole.survivors == tuple(party.sites)


def test_clients_that_are_restarted_with_the_server_go_on_from_their_journals(expected, tmp_path):
    """Training is deterministic here, so that a restarted client masks the same vector again."""
    party = Party(folder=tmp_path)
    file = tmp_path / "server.safetensors"
    server = party.server(file)
    server.run_round(party.network())
    with pytest.raises(Killed):
        server.run_round(party.stopping(2, True))
    party.clients = [party.client(name, joins_late=True) for name in party.sites]
    server = party.server(file)
    while not server.is_finished:
        assert server.run_round(party.network()).abort_reason == ""
    assert torch.equal(weights(party.net), expected)


def test_the_checkpoint_holds_no_update_and_no_private_key(tmp_path):
    party = Party()
    file = tmp_path / "server.safetensors"
    party.server(file).run_round(party.network({0: DropoutStage.UNMASK}))
    written = file.read_bytes()
    assert b"hospital-1" in written
    for client in party.clients:
        assert client.update.encoded.tobytes() not in written
        assert client.update.encoded[:3].tobytes() not in written
    for identity in party.identities.values():
        assert bytes(identity.private.peek()) not in written


def test_a_checkpoint_of_another_training_or_a_damaged_one_is_refused_by_name(tmp_path):
    party = Party()
    file = tmp_path / "server.safetensors"
    party.server(file).run_round(party.network())
    for other in (
        replace(party.config, rounds=4),
        replace(party.config, clip_value=0.5),
        replace(party.config, local_recipe=replace(SHORT, epochs=2)),
    ):
        with pytest.raises(RunFolderError, match="a training under other terms"):
            party.server(file, config=other)
    for net, aggregation in ((linear(), PlainMean()), (linear(seed=1), SecureSum())):
        with pytest.raises(RunFolderError, match="a training under other terms"):
            Server(party.plan(), net, aggregation, checkpoint=file)
    rotated = dict(party.identities, **{"hospital-1": Identity.create("hospital-1")})
    with pytest.raises(RunFolderError, match=r"a training under other terms \(sites, their keys, "):
        party.server(file, roster=Roster.from_identities(*rotated.values()))
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(data)
    with pytest.raises(RunFolderError, match="is not what was written"):
        party.server(file)
    file.write_bytes(data[:100])
    with pytest.raises(RunFolderError, match="cannot be read"):
        party.server(file)


def test_the_reports_of_finished_rounds_are_those_that_were(tmp_path):
    party = Party()
    file = tmp_path / "server.safetensors"
    server = party.server(file)
    server.run_round(party.network({1: DropoutStage.MASKED}))
    server.run_round(party.network({0: DropoutStage.KEYS, 1: DropoutStage.KEYS}))
    before = server.state
    after = party.server(file).state
    assert after.reports == before.reports
    assert [one.dropped for one in after.reports] == [("hospital-2",), tuple(party.sites)]
    assert "2 of 4 sites sent keys" in after.reports[1].abort_reason
    assert (after.next_counter, after.cheaters) == (2, {})
    assert (after.published.integers == before.published.integers).all()


class Accusing(SecureSum):
    """A sum in which the server finds a liar, in the first round."""

    def sum(self, policy, transport):
        found = super().sum(policy, transport)
        if policy.task.counter == 0:
            raise SabotageError("a bad share", ("hospital-3",))
        return found


def test_a_proven_cheat_gets_no_task_after_a_restart(tmp_path):
    """The others have answered with it, so that they open no sum without it over this model."""
    party = Party(aggregation=Accusing())
    file = tmp_path / "server.safetensors"
    assert party.server(file).run_round(party.network()).accused == ("hospital-3",)
    network = party.network()
    report = party.server(file).run_round(network)
    assert network.admitted == (0, 1, 3)
    assert "proven to have cheated in round 0" in report.refused["hospital-3"]


def test_with_the_plain_sum_the_model_is_the_same_and_the_server_sees_each_update(expected):
    party = Party(aggregation=PlainMean())
    server = party.server()
    networks = [party.network() for _ in range(ROUNDS)]
    for network in networks:
        assert server.run_round(network).survivors == tuple(party.sites)
    assert torch.equal(weights(party.net), expected)
    sent = b"".join(message.data for message in networks[-1]._received)
    assert all(client.update.encoded.tobytes() in sent for client in party.clients)


@pytest.mark.parametrize(
    ("place", "match"),
    [
        (0, "not a vector of this round"),
        (8, "not a vector of this round"),
        (24, "not a vector"),
        (60, "signature"),
    ],
)
def test_a_plain_vector_that_is_changed_on_its_way_costs_its_site_the_round(place, match):
    party = Party(aggregation=PlainMean())
    network = party.network()
    exchange = network.exchange

    def tampered(outgoing):
        replies = dict(exchange(outgoing))
        replies[2] = replies[2][:place] + bytes([replies[2][place] ^ 1]) + replies[2][place + 1 :]
        return replies

    network.exchange = tampered
    report = party.server().run_round(network)
    assert report.dropped == ("hospital-3",)
    assert match in report.refused["hospital-3"]


def test_a_plain_vector_in_another_sites_name_or_for_another_round_is_refused():
    party = Party(aggregation=PlainMean())
    network, kept = party.network(), {}
    exchange = network.exchange

    def swapped(outgoing):
        replies = dict(exchange(outgoing))
        kept.update(replies)
        return {**replies, 0: replies[1]}

    network.exchange = swapped
    server = party.server()
    assert server.run_round(network).dropped == ("hospital-1",)
    replaying = party.network()
    inner = replaying.exchange
    replaying.exchange = lambda outgoing: {**inner(outgoing), 3: kept[3]}
    assert server.run_round(replaying).dropped == ("hospital-4",)


class Forged(Aggregation):
    """An aggregation that returns what no survivors can have sent."""

    name, hides_updates, replies = "forged", False, ()

    def __init__(self, **changes):
        self.changes = changes

    def join(self, policy, identity, encoded, journal):
        raise NotImplementedError

    def sum(self, policy, transport):
        import numpy as np

        names = policy.roster.names
        found = RoundSum(np.zeros(policy.encoding.num_words, np.int64), names, ())
        return replace(found, **self.changes)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"survivors": ("hospital-1",)}, "expected at least 3 sites"),
        ({"survivors": ("hospital-1",) * 4}, "each once"),
        ({"survivors": ("a", "b", "c")}, "of the roster"),
        ({"integers": torch.zeros(3, dtype=torch.int64).numpy()}, "a sum of"),
        ({"integers": torch.full((74,), 2**31).numpy()}, "entry 0 of the sum"),
    ],
)
def test_a_sum_that_its_survivors_cannot_have_made_moves_no_model(changes, match):
    party = Party()
    net = linear()
    server = Server(party.plan(), net, Forged(**changes))

    class Nobody:
        def broadcast(self, message, sites):
            return dict.fromkeys(sites, b"")

        def cancel(self, message, sites):
            assert message[:4] == b"QFT1"

    report = server.run_round(Nobody())
    assert report.abort_reason
    assert match in report.abort_reason
    assert torch.equal(weights(net), weights(linear()))


def test_run_goes_through_all_rounds_that_are_left():
    party = Party(config=FederatedConfig(2, SHORT))
    server, told = party.server(), []

    class Rounds:
        """A new simulated network for each round."""

        def broadcast(self, message, sites):
            self.network = party.network()
            return self.network.broadcast(message, sites)

        def exchange(self, outgoing):
            return self.network.exchange(outgoing)

        def cancel(self, message, sites):
            self.network.cancel(message, sites)

    reports = server.run(Rounds(), told.append)
    assert list(reports) == told
    assert [one.index for one in reports] == [0, 1]
    more = Rounds()
    assert "0 of 4 sites sent keys" in server.run_round(more).abort_reason
    assert all("this site's plan has 2 rounds" in why for why in more.network.failures.values())
