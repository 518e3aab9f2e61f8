"""A site proves who it is by its signature on a new number; nobody else can."""

import pytest

from quintain.core.errors import ProtocolError
from quintain.federated.authentication import answer_challenge, authenticated_site, new_challenge
from quintain.federated.secagg import Identity
from tests.federated.settings import Party


def test_a_client_answers_for_its_own_site_before_a_round_and_after_it():
    party = Party()
    for _ in range(2):
        for site, client in enumerate(party.clients):
            number, challenge = new_challenge()
            assert authenticated_site(client.handle(challenge), number, party.roster) == site
        party.server().run_round(party.network())


def test_who_is_asked_between_the_messages_of_a_round_and_disturbs_none():
    party = Party()
    server = party.server()
    network = party.network()
    original = network.exchange

    def asking(outgoing):
        for client in party.clients:
            client.handle(new_challenge()[1])
        return original(outgoing)

    network.exchange = asking
    assert server.run_round(network).survivors == party.roster.names


@pytest.mark.parametrize(
    "forge",
    [
        lambda ours, other, number: answer_challenge(ours, b"n" * 16),
        lambda ours, other, number: answer_challenge(Identity.create(ours.name), number),
        lambda ours, other, number: answer_challenge(other, number)[:64] + ours.name.encode(),
        lambda ours, other, number: answer_challenge(Identity.create("nobody"), number),
        lambda ours, other, number: b"",
        lambda ours, other, number: b"QFT1 ready",
    ],
    ids=["replayed", "another key", "another name", "not listed", "nothing", "something else"],
)
def test_an_answer_that_the_site_has_not_signed_is_refused(forge):
    party = Party()
    ours, other = list(party.identities.values())[:2]
    number, _ = new_challenge()
    with pytest.raises(ProtocolError, match="that no site of the roster has signed"):
        authenticated_site(forge(ours, other, number), number, party.roster)
