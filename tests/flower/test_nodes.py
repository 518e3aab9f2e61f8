"""Nodes of a grid are found to be sites by what their daemons sign, and enough of them are waited for."""

import threading

import pytest
from flwr.app import ConfigRecord, Message, RecordDict

from quintain.federated.daemon import listen, serve_daemon
from quintain.federated.flower.nodes import find_sites, gather_sites
from quintain.federated.flower.stub import RECORD, stub_app
from tests.federated.settings import Party
from tests.flower.federation import NODES, InProcessGrid

NUM_SITES = 4


@pytest.fixture
def daemons(tmp_path):
    """Start the daemon of a site at a node; all end with the test."""
    listening = []

    def start(client, node):
        listening.append(listen(tmp_path / f"socket-{NODES.index(node)}"))
        threading.Thread(target=serve_daemon, args=(client.handle, listening[-1]), daemon=True).start()

    yield start
    for one in listening:
        one.shutdown(2)
        one.close()


@pytest.fixture
def grid(tmp_path):
    return InProcessGrid(stub_app(lambda context: tmp_path / f"socket-{context.node_config['partition-id']}"))


class Clock:
    """Seconds that pass in pauses alone; something may happen in each."""

    def __init__(self, *events):
        self.now, self.events = 0.0, list(events)

    def pause(self, seconds):
        self.now += seconds
        if self.events:
            self.events.pop(0)()


def gathered(grid, party, clock, known=None, **changes):
    lines = []
    settings = {
        "wanted": range(NUM_SITES),
        "is_enough": lambda here: len(here) >= 3,
        "seconds": 60.0,
        **changes,
    }
    found = gather_sites(
        grid,
        party.roster,
        known or {},
        say=lines.append,
        clock=lambda: clock.now,
        pause=clock.pause,
        **settings,
    )
    return found, lines


def test_daemons_are_found_behind_whatever_node_leads_to_them(daemons, grid):
    party = Party()
    places = {0: NODES[3], 1: NODES[0], 2: NODES[4], 3: NODES[1]}
    for site, node in places.items():
        daemons(party.clients[site], node)
    assert find_sites(grid, party.roster, NODES) == places
    clock = Clock()
    assert gathered(grid, party, clock) == (places, [])
    assert clock.now == 0


def test_a_second_daemon_of_one_identity_is_told_and_takes_no_turns_with_the_first(daemons, grid):
    """A site has moved to another machine, and its old one runs on with a copy of the journal."""
    party = Party()
    for site in range(NUM_SITES):
        daemons(party.clients[site], NODES[site])
    daemons(party.clients[0], NODES[4])
    known = {0: NODES[4], 1: NODES[1], 2: NODES[2]}
    found, lines = gathered(grid, party, Clock(), known)
    assert found == {**known, 3: NODES[3]}
    assert lines == [
        f"hospital-1 answers at two nodes, {NODES[4]} and {NODES[0]}, of which the first is taken: if two "
        "daemons have its identity, such as on an old machine and a new one, stop one"
    ]
    # a node that is gone from the grid is not kept
    found, _ = gathered(grid, party, Clock(), {0: 9})
    assert found[0] in (NODES[0], NODES[4])


def test_a_second_daemon_is_told_once_while_others_are_waited_for(daemons, grid):
    party = Party()
    for site, node in ((0, NODES[0]), (0, NODES[4]), (1, NODES[1]), (2, NODES[2])):
        daemons(party.clients[site], node)
    clock = Clock()
    _, lines = gathered(grid, party, clock, seconds=9.0)
    assert clock.now == 9
    assert len(lines) == 2
    assert "answers at two nodes" in lines[0]
    assert lines[1].startswith("3 of 4 sites are there; waiting for ")


def test_a_site_that_was_started_anew_is_at_its_new_node_while_the_old_one_is_still_listed(daemons, grid):
    party = Party()
    places = {0: NODES[4], 1: NODES[1], 2: NODES[2], 3: NODES[3]}
    for site, node in places.items():
        daemons(party.clients[site], node)
    assert gathered(grid, party, Clock(), {**places, 0: NODES[0]}) == (places, [])


def test_a_node_that_names_another_site_leads_to_none(daemons, grid):
    party = Party()

    def lying(message, context):
        reply = ConfigRecord({"message": bytes(64) + party.roster.names[0].encode()})
        return Message(RecordDict({RECORD: reply}), reply_to=message)

    honest = grid.app
    daemons(party.clients[0], NODES[1])
    grid.app = lambda message, context: (lying if context.node_id == NODES[2] else honest)(message, context)
    assert find_sites(grid, party.roster, NODES) == {0: NODES[1]}


def test_sites_that_come_later_are_waited_for_and_named_once(daemons, grid):
    party = Party()
    names = party.roster.names
    for site in (0, 2):
        daemons(party.clients[site], NODES[site])
    later = [lambda: None] * 99 + [lambda: daemons(party.clients[3], NODES[3])]
    later += [lambda: None, lambda: daemons(party.clients[1], NODES[1])]
    found, lines = gathered(grid, party, Clock(*later), seconds=1000.0)
    assert found == dict(enumerate(NODES[:NUM_SITES]))
    assert lines == [
        f"2 of 4 sites are there; waiting for {names[1]}, {names[3]}",
        f"3 of 4 sites are there; waiting for {names[1]}",
    ]


def test_with_enough_for_a_sum_the_others_are_waited_for_no_longer_than_said(daemons, grid):
    party = Party()
    for site in (0, 1, 2):
        daemons(party.clients[site], NODES[site])
    clock = Clock()
    found, _ = gathered(grid, party, clock)
    assert found == {0: NODES[0], 1: NODES[1], 2: NODES[2]}
    assert 60 <= clock.now < 70
    assert gathered(grid, party, Clock(), wanted=(0, 1, 2)) == (found, [])


def test_sites_that_are_known_are_not_asked_again(daemons, grid):
    party = Party()
    daemons(party.clients[3], NODES[4])
    known = {0: NODES[0], 1: NODES[1], 2: NODES[2]}
    found, _ = gathered(grid, party, Clock(), known)
    assert found == known | {3: NODES[4]}
    assert {site for site, _ in grid.sent} == {3, 4}
