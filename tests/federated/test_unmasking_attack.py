import numpy as np
import pytest

from quintain.core.errors import SettingError
from quintain.federated import DropoutStage, InProcessTransport, attack_masks, require_hidden, secure_sum
from quintain.federated.secagg import client, masks, server
from tests.federated.rounds import federation


@pytest.fixture
def late():
    rng = np.random.default_rng(0)
    given = {f"site-{i}": rng.uniform(-1, 1, 64) for i in range(5)}
    result = secure_sum(given, dropouts={"site-1": "late"})
    return result, {name: result.encoding.quantize(vector) for name, vector in given.items()}


def test_what_stays_unknown_is_named(late):
    result, _ = late
    assert attack_masks(result.server_view, "site-1").remaining_masks == ("self",)
    assert attack_masks(result.server_view, "site-0").remaining_masks == ("site-2", "site-3", "site-4")


def test_the_attack_takes_off_what_it_can_and_fails_for_want_of_one_mask(late):
    result, words = late
    for site in result.server_view.masked_vectors:
        guess = attack_masks(result.server_view, site)
        assert guess.agreement(words[site]) == 0
        assert not np.array_equal(guess.encoded, result.server_view.masked_vectors[site])
        assert np.abs(guess.decode(result.server_view)).max() > 1
    require_hidden(result.server_view, words)


def test_with_the_one_seed_that_it_lacks_the_vector_is_bare():
    """The control: the attack's arithmetic is right, only the self-mask stands in its way."""
    party = federation(4, length=64)
    transport = InProcessTransport(party.policy, party.sites, {1: DropoutStage.LATE})
    state, outgoing = server.open_round(party.policy)
    seed = b""
    while isinstance(state, server.RoundInProgress):
        at_site = transport._sites.get(1)
        if isinstance(at_site, client.SharesSent):
            seed = bytes(at_site.self_mask_seed.peek())
        state, outgoing = server.step(state, transport.exchange(outgoing))
    guess = attack_masks(transport.view, "site-1")
    assert guess.agreement(party.words[1]) == 0
    masks.add_self_mask(guess.encoded, seed, transport.view.transcript_hash, 1, remove=True)
    assert np.array_equal(guess.encoded, party.words[1])


def test_there_is_nothing_to_attack_without_a_vector():
    result = secure_sum({f"site-{i}": np.zeros(3) for i in range(4)}, dropouts={"site-2": "masked"})
    with pytest.raises(
        SettingError, match="no masked vector of 'site-2'; attack one of site-0, site-1, site-3"
    ):
        attack_masks(result.server_view, "site-2")
