"""The homomorphic sum as an aggregation: what clients refuse, what the server refuses, and keys in files."""

from contextlib import nullcontext

import numpy as np
import pytest

from quintain.core.errors import ExecutionError, MechanismError, ProtocolError, SettingError, StorageError
from quintain.federated import FederatedConfig, HomomorphicSum, SharedKey, secure_sum, simulate
from quintain.federated.aggregate import RoundAbandonedError, simulate_round
from quintain.federated.homomorphic import CiphertextSum
from quintain.federated.homomorphic_sum import ENCRYPT, OPEN, OPENED, _request
from quintain.federated.in_process import ParticipantTransport
from quintain.federated.secagg import Identity, MemoryJournal, Policy, Roster
from quintain.federated.secagg.encoding import finest_encoding
from quintain.federated.secagg.messages import pack_set
from quintain.federated.transport import DropoutStage
from tests.federated.settings import SHORT, Party, blobs, linear, partition, weights

SECOND_REFUSED = pytest.raises(ProtocolError, match="a site decrypts one a round")


@pytest.fixture(scope="module")
def key() -> SharedKey:
    return SharedKey.create()


class Round:
    """Four sites and a server that each have their own half of one aggregation."""

    def __init__(self, key: SharedKey, *, length: int = 5, num_sites: int = 4) -> None:
        self.identities = [Identity.create(f"site-{index}") for index in range(num_sites)]
        encoding = finest_encoding(length, 1.0, num_sites)
        roster = Roster.from_identities(*self.identities)
        self.policy = Policy(roster, bytes(16), 3, 3, encoding, bytes(32))
        rng = np.random.default_rng(1)
        self.words = [encoding.quantize(rng.uniform(-1, 1, length)) for _ in self.identities]
        self.journals = [MemoryJournal() for _ in self.identities]
        self.key = key
        self.sites = [self.site(index) for index in range(num_sites)]
        self.server = HomomorphicSum(key.key_id)

    def site(self, index, *, key=None, words=None):
        own = self.words[index] if words is None else words
        half = HomomorphicSum(key or self.key)
        return half.join(self.policy, self.identities[index], own, self.journals[index])

    def run(self, dropouts=None, changed=None):
        """Sum; ``changed`` sees each reply of a site and returns what arrives."""
        transport = ParticipantTransport(
            self.policy.roster.names, dict(enumerate(self.sites)), dropouts or {}, HomomorphicSum.replies
        )

        class Wire:
            def exchange(self, outgoing):
                replies = transport.exchange(outgoing)
                return replies if changed is None else {s: changed(s, r) for s, r in replies.items()}

        found = self.server.sum(self.policy, Wire())
        return found, transport

    def offered(self, survivors, total):
        return _request(OPEN, self.policy) + pack_set(survivors, len(self.sites)) + total

    def encrypted(self):
        """Each site's ciphertext, as the server would have it."""
        request = _request(ENCRYPT, self.policy)
        return [site.step(request)[25:-64] for site in self.sites]


def added(ciphertexts, key, encoding):
    total = CiphertextSum(key.key_id, encoding)
    for one in ciphertexts:
        total.add(one)
    return total.pack()


def test_the_server_has_no_key_and_the_sum_is_exact(key):
    party = Round(key)
    found, _ = party.run()
    signed = [party.policy.encoding.to_signed(words) for words in party.words]
    np.testing.assert_array_equal(found.integers, np.sum(signed, axis=0))
    with pytest.raises(ProtocolError, match="only the id of the sites' key"):
        party.server.join(party.policy, party.identities[0], party.words[0], MemoryJournal())


def test_as_few_sites_open_the_sum_as_can_outvote_the_corrupt_ones(key):
    party = Round(key)
    _, transport = party.run()
    asked = [letter.site for letter in transport.view_under(party.policy).sent if letter.data[4] == OPEN]
    assert asked == [0, 1]


@pytest.mark.parametrize("silent", [(0,), (0, 1)])
def test_others_are_asked_where_some_that_should_open_are_silent(key, silent):
    party = Round(key)
    found, transport = party.run(dict.fromkeys(silent, DropoutStage.UNMASK))
    asked = [letter.site for letter in transport.view_under(party.policy).sent if letter.data[4] == OPEN]
    assert asked == [0, 1, 2, 3]
    assert found.survivors == party.policy.roster.names


def test_a_sum_that_too_few_open_is_abandoned(key):
    with pytest.raises(ProtocolError, match="1 of 4 sites opened the sum; 2 are needed"):
        Round(key).run(dict.fromkeys((0, 1, 2), DropoutStage.UNMASK))


def test_sites_that_open_a_sum_to_other_integers_are_named_and_the_round_is_abandoned(key, monkeypatch):
    party = Round(key)
    honest = party.sites[1]._key.decrypt

    class Liar:
        encrypt = party.key.encrypt

        @staticmethod
        def decrypt(*given):
            integers = honest(*given)
            integers[0] += 1
            return integers

    monkeypatch.setattr(party.sites[1], "_key", Liar)
    with pytest.raises(ProtocolError, match=r"site-1 opened the sum to other integers than site-0; .*lies"):
        party.run()


@pytest.mark.parametrize("place", [10, 22, 60, -1, -64, -70])
def test_a_changed_ciphertext_is_refused_by_the_name_of_its_site_and_the_others_are_summed(key, place):
    def changed(site, reply):
        if site != 2 or reply[4] == OPENED:
            return reply
        other = bytearray(reply)
        other[place] ^= 1
        return bytes(other)

    party = Round(key)
    found, _ = party.run(changed=changed)
    assert found.survivors == ("site-0", "site-1", "site-3")
    assert list(found.refused) == ["site-2"]


def test_a_site_of_another_key_is_refused_by_name_and_the_others_are_summed(key):
    party = Round(key)
    party.sites[3] = party.site(3, key=SharedKey.create())
    found, _ = party.run()
    assert "under key" in found.refused["site-3"]
    assert found.survivors == ("site-0", "site-1", "site-2")


def test_a_malformed_ciphertext_that_its_site_signed_costs_that_site_alone(key):
    party = Round(key)
    short = finest_encoding(2, 1.0, 4)

    class Other:
        @staticmethod
        def encrypt(_words, _encoding):
            other = bytearray(party.key.encrypt(short.quantize([0.1, 0.2]), short))
            other[20:24] = (5).to_bytes(4, "big")
            return bytes(other)

    party.sites[0]._key = Other
    found, _ = party.run()
    assert "in parts of [3] integers" in found.refused["site-0"]
    assert len(found.survivors) == 3


@pytest.mark.parametrize(
    ("survivors", "summed", "reason", "then"),
    [
        ((0, 1), (0, 1), "a sum of 2 sites; this site's policy asks for 3", nullcontext()),
        ((1, 2, 3), (1, 2, 3), "this one is missing", nullcontext()),
        # these are decrypted before they are refused: nothing else is in this round
        ((0, 1, 2), (0,), "a sum of 1 vectors; expected 3", SECOND_REFUSED),
        ((0, 1, 2, 3), (0, 1, 2), "a sum of 3 vectors; expected 4", SECOND_REFUSED),
    ],
)
def test_a_site_opens_no_sum_of_too_few_without_itself_or_of_others_than_told(
    key, survivors, summed, reason, then
):
    party = Round(key)
    sent = party.encrypted()
    total = added([sent[site] for site in summed], key, party.policy.encoding)
    with pytest.raises(ProtocolError, match=reason):
        party.sites[0].step(party.offered(survivors, total))
    honest = party.offered((0, 1, 2, 3), added(sent, key, party.policy.encoding))
    with then:
        assert party.sites[0].step(honest)


def test_a_site_opens_one_sum_a_round_and_one_cohort_a_model(key):
    party = Round(key)
    sent, encoding = party.encrypted(), party.policy.encoding
    assert party.sites[0].step(party.offered((0, 1, 2, 3), added(sent, key, encoding)))
    with pytest.raises(ProtocolError, match="the sum of other survivors over this very model"):
        party.sites[0].step(party.offered((0, 1, 2), added(sent[:3], key, encoding)))
    with pytest.raises(ProtocolError, match="a site decrypts one a round"):
        party.sites[0].step(party.offered((0, 1, 2, 3), added(sent, key, encoding)))
    with pytest.raises(ProtocolError, match="a replay is refused"):
        party.site(0)


def test_a_site_encrypts_once_and_in_turn(key):
    party = Round(key)
    with pytest.raises(ProtocolError, match="not due in round"):
        party.sites[0].step(party.offered((0, 1, 2, 3), b""))
    party.sites[0].step(_request(ENCRYPT, party.policy))
    for message in (_request(ENCRYPT, party.policy), b"", b"QHS1", _request(OPEN, party.policy)[:-1] + b"?"):
        with pytest.raises(ProtocolError, match="not due in round"):
            party.sites[0].step(message)
    with pytest.raises(ProtocolError, match="masked before"):
        party.site(0).step(_request(ENCRYPT, party.policy))


def test_words_in_the_clear_are_an_alarm(key):
    party = Round(key, length=60)

    class Bare:
        @staticmethod
        def encrypt(words, _encoding):
            return words.tobytes()

    truth = dict(zip(party.policy.roster.names, party.words, strict=True))
    _, transport = party.run()
    party.server.check_view(transport.view_under(party.policy), truth, ())
    bare = Round(key, length=60)
    bare.sites[2]._key = Bare
    _, transport = bare.run()
    truth = dict(zip(bare.policy.roster.names, bare.words, strict=True))
    with pytest.raises(MechanismError, match="gives away the vector of 'site-2'"):
        bare.server.check_view(transport.view_under(bare.policy), truth, ())


def test_training_makes_the_same_model_as_a_secure_sum_with_a_dropout():
    sites = partition(blobs(), 4, min_examples=10, min_per_class=1).sites
    nets = [linear(), linear()]
    config, drop = FederatedConfig(2, SHORT), {1: ("hospital-2", "masked")}
    encrypted = simulate(sites, nets[0], config, aggregation=HomomorphicSum(), dropouts=drop)
    masked = simulate(sites, nets[1], config, dropouts=drop)
    assert [one.simulated.exact for one in encrypted.rounds] == [True, True]
    assert encrypted.rounds[1].dropped == masked.rounds[1].dropped == ("hospital-2",)
    assert (weights(nets[0]) == weights(nets[1])).all()


def test_a_client_of_a_secure_sum_refuses_a_homomorphic_one():
    party = Party(aggregation=HomomorphicSum())
    party.clients[0] = party.client("hospital-1", aggregation=Party().aggregation)
    report = party.server().run_round(party.network())
    assert report.dropped == ("hospital-1",)


def test_a_key_file_is_its_owners_alone(key, tmp_path):
    path = tmp_path / "federation.key"
    key.save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    again = SharedKey.load(path)
    encoding = finest_encoding(3, 1.0, 3)
    sent = key.encrypt(encoding.quantize([0.5, -0.5, 0.0]), encoding)
    assert again.key_id == key.key_id
    np.testing.assert_array_equal(
        again.decrypt(sent, encoding, 1), encoding.to_signed(encoding.quantize([0.5, -0.5, 0.0]))
    )
    with pytest.raises(StorageError, match="never written over"):
        key.save(path)
    path.chmod(0o640)
    with pytest.raises(StorageError, match="has mode 640; expected 600"):
        SharedKey.load(path)
    for content, reason in ((b"", "no key file"), (b"QHK1" + bytes(16), "no key file")):
        other = tmp_path / f"{len(content)}.key"
        other.write_bytes(content)
        other.chmod(0o600)
        with pytest.raises(ProtocolError, match=reason):
            SharedKey.load(other)
    with pytest.raises(StorageError, match="cannot read"):
        SharedKey.load(tmp_path / "none.key")


def test_a_key_that_is_none_is_refused(monkeypatch):
    with pytest.raises(SettingError, match="key = 3; expected"):
        HomomorphicSum(3)
    with pytest.raises(ProtocolError, match="of 3 bytes; expected 16"):
        HomomorphicSum(b"abc")
    monkeypatch.setitem(__import__("sys").modules, "tenseal", None)
    with pytest.raises(ExecutionError, match=r"pip install 'quintain\[he\]'"):
        HomomorphicSum()


def test_vectors_that_do_not_fit_and_foreign_keys_are_refused(key):
    party = Round(key)
    with pytest.raises(ProtocolError, match="expected \\(5,\\) of uint32"):
        party.site(0, words=party.words[0][:4])
    party.identities[0] = Identity.create("site-0")
    with pytest.raises(ProtocolError, match="lists another key for 'site-0'"):
        party.site(0)


def test_an_impossible_sum_is_opened_by_nobody(key):
    party = Round(key)
    wide = np.full(5, 2**30, np.uint32)
    party.sites[0] = party.site(0, words=wide)
    with pytest.raises(ProtocolError, match="0 of 4 sites opened the sum"):
        party.run()
    vectors = {f"site-{index}": np.ones(3) for index in range(4)}
    with pytest.raises(RoundAbandonedError, match="2 of 4 sites sent a vector"):
        secure_sum(
            vectors,
            aggregation=HomomorphicSum(key),
            dropouts={"site-0": "masked", "site-1": "masked"},
        )


def test_the_journal_of_a_secure_sum_binds_the_homomorphic_one(key):
    """The rules are those of the site, whatever sums: another vector over the same model is refused."""
    party = Round(key)
    given = dict(zip(party.policy.roster.names, party.words, strict=True))
    keyring = dict(zip(given, party.identities, strict=True))
    journals = dict(zip(given, party.journals, strict=True))
    simulate_round(party.policy, keyring, given, {}, journals=journals)
    policy = Policy(
        party.policy.roster, bytes(15) + b"2", 3, 3, party.policy.encoding, party.policy.model_hash
    )
    site = HomomorphicSum(key).join(policy, party.identities[0], party.words[1], party.journals[0])
    with pytest.raises(ProtocolError, match="masked another vector"):
        site.step(_request(ENCRYPT, policy))
