"""The homomorphic sum as an aggregation: what clients refuse, what the server refuses, and keys in files."""

from dataclasses import replace

import numpy as np
import pytest

from quintain.core.errors import ExecutionError, MechanismError, ProtocolError, SettingError, StorageError
from quintain.federated import FederatedConfig, HomomorphicSum, SharedKey, secure_sum, simulate
from quintain.federated.aggregate import RoundAbandonedError, simulate_round
from quintain.federated.homomorphic import CiphertextSum
from quintain.federated.homomorphic_messages import (
    ENCRYPT,
    ENCRYPTED,
    OPEN,
    OPENED,
    SIGNED,
    SURVIVORS,
    open_signature,
    pack_list,
    pack_opening,
    reply,
    request,
)
from quintain.federated.in_process import ParticipantTransport
from quintain.federated.secagg import Identity, MemoryJournal, Policy, Roster
from quintain.federated.secagg.encoding import finest_encoding
from quintain.federated.secagg.message_bodies import parse_vector
from quintain.federated.secagg.policy import Task, default_threshold
from quintain.federated.secagg.primitives import SIGNATURE_BYTES
from quintain.federated.transport import DropoutStage
from tests.federated.settings import SHORT, Party, blobs, linear, partition, weights

REPLY_HEAD = 25


NAMES = [f"site-{index}" for index in range(4)]


@pytest.fixture(scope="module")
def key() -> SharedKey:
    return SharedKey.create()


class Round:
    """Four sites and a server that each have their own half of one aggregation."""

    def __init__(self, key: SharedKey, *, length: int = 5, num_sites: int = 4) -> None:
        self.identities = [Identity.create(f"site-{index}") for index in range(num_sites)]
        encoding = finest_encoding(length, 1.0, num_sites)
        roster = Roster.from_identities(*self.identities)
        threshold = default_threshold(num_sites)
        self.policy = Policy(roster, bytes(16), threshold, threshold, encoding, bytes(32))
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

    def again(self, round_id):
        """Begin the next round over the same model, with the same journals and vectors."""
        task = Task(counter=self.policy.task.counter + 1)
        self.policy = replace(self.policy, round_id=round_id, task=task)
        self.sites = [self.site(index) for index in range(len(self.sites))]

    def listed(self, survivors, total):
        """The request to sign who is in a sum."""
        return request(SURVIVORS, self.policy) + pack_list(survivors, total, len(self.sites))

    def signed(self, survivors, total):
        """The survivors' signatures on a list."""
        message = self.listed(survivors, total)
        return {site: self.sites[site].step(message)[-SIGNATURE_BYTES:] for site in survivors}

    def signed_by(self, site, listed, *, kind=SIGNED, policy=None):
        """A site's signature on whatever it likes."""
        signed = reply(kind, policy or self.policy, self.identities[site], b"", listed)
        return signed[-SIGNATURE_BYTES:]

    def offered(self, signatures, total):
        """The request to open a sum."""
        return request(OPEN, self.policy) + pack_opening(signatures, total, len(self.sites))

    def encrypted(self):
        """Each site's ciphertext, as the server would have it."""
        message = request(ENCRYPT, self.policy)
        return [site.step(message)[REPLY_HEAD:-SIGNATURE_BYTES] for site in self.sites]


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
        if site != 2 or reply[4] != ENCRYPTED:
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
    ("survivors", "reason"),
    [
        ((0, 1), "a sum of 2 sites; this site's policy asks for 3"),
        ((1, 2, 3), "this one is missing"),
    ],
)
def test_a_site_signs_no_survivors_that_are_too_few_or_without_itself(key, survivors, reason):
    party = Round(key)
    sent = party.encrypted()
    total = added([sent[site] for site in survivors], key, party.policy.encoding)
    with pytest.raises(ProtocolError, match=reason):
        party.sites[0].step(party.listed(survivors, total))
    with pytest.raises(ProtocolError, match="not due in round"):
        party.sites[0].step(party.offered({}, total))
    # nothing was claimed or decrypted: an honest server gets its sum
    total = added(sent, key, party.policy.encoding)
    assert party.sites[0].step(party.offered(party.signed((0, 1, 2, 3), total), total))


@pytest.mark.parametrize(
    ("survivors", "summed", "reason"),
    [
        ((0, 1, 2), (0,), "a sum of 1 vectors; expected 3"),
        ((0, 1, 2, 3), (0, 1, 2), "a sum of 3 vectors; expected 4"),
    ],
)
def test_a_site_opens_no_sum_of_other_sites_than_told(key, survivors, summed, reason):
    party = Round(key)
    sent = party.encrypted()
    total = added([sent[site] for site in summed], key, party.policy.encoding)
    forged = party.offered(party.signed(survivors, total), total)
    with pytest.raises(ProtocolError, match=reason):
        party.sites[0].step(forged)
    # it was decrypted before it was refused: nothing else is in this round
    with pytest.raises(ProtocolError, match="a site decrypts one a round"):
        party.sites[0].step(forged)
    with pytest.raises(ProtocolError, match="a site signs one a round"):
        party.sites[0].step(party.listed(survivors, added(sent, key, party.policy.encoding)))


def test_a_site_opens_one_sum_a_round_and_one_cohort_a_model(key):
    party = Round(key)
    sent, encoding = party.encrypted(), party.policy.encoding
    total = added(sent, key, encoding)
    message = party.offered(party.signed((0, 1, 2, 3), total), total)
    assert party.sites[0].step(message)
    with pytest.raises(ProtocolError, match="the sum of other survivors over this very model"):
        party.sites[0].step(party.listed((0, 1, 2), added(sent[:3], key, encoding)))
    with pytest.raises(ProtocolError, match="a site decrypts one a round"):
        party.sites[0].step(message)
    with pytest.raises(ProtocolError, match="a replay is refused"):
        party.site(0)


def test_a_site_opens_a_sum_only_with_enough_signatures_of_survivors_on_its_own_list(key):
    party = Round(key)
    sent, encoding, survivors = party.encrypted(), party.policy.encoding, (0, 1, 2)
    total, other = added(sent[:3], key, encoding), added(sent[1:], key, encoding)
    good, listed = party.signed(survivors, total), pack_list(survivors, total, 4)
    for signatures, offered, reason in (
        ({0: good[0], 1: good[1]}, total, "2 signatures on the survivors; expected 3"),
        ({**good, 3: party.signed_by(3, listed)}, total, "4 signatures .*, all of survivors"),
        (good, other, "another ciphertext to open than the one in the list"),
    ):
        with pytest.raises(ProtocolError, match=reason):
            party.sites[0].step(party.offered(signatures, offered))
    elsewhere = replace(party.policy, round_id=b"another round id")
    for bad in (
        party.signed_by(2, pack_list((0, 1, 2, 3), total, 4)),
        party.signed_by(2, pack_list(survivors, other, 4)),
        party.signed_by(2, listed, policy=elsewhere),
        party.signed_by(2, listed, kind=OPENED),
        good[1],
        bytes(SIGNATURE_BYTES),
    ):
        with pytest.raises(ProtocolError, match="the signature of 'site-2' does not hold for the survivors"):
            party.sites[0].step(party.offered({**good, 2: bad}, total))
    # nothing was decrypted so far, and the signatures of the survivors on this list open it
    assert party.sites[0].step(party.offered(good, total))


def test_a_sum_that_too_few_sign_is_abandoned(key):
    with pytest.raises(ProtocolError, match="2 of 4 sites signed the survivors; 3 are needed"):
        Round(key).run(dict.fromkeys((0, 1), DropoutStage.CONSISTENCY))


def test_a_site_that_signs_nothing_is_in_the_sum_and_is_not_asked_to_open_it(key):
    party = Round(key)
    found, transport = party.run({0: DropoutStage.CONSISTENCY})
    asked = [letter.site for letter in transport.view_under(party.policy).sent if letter.data[4] == OPEN]
    assert asked == [1, 2]
    assert found.survivors == party.policy.roster.names


def test_a_bad_signature_on_the_survivors_is_refused_by_name_and_the_others_have_the_sum_opened(key):
    party = Round(key)
    found, _ = party.run(
        changed=lambda site, answer: (
            answer[:-1] + bytes([answer[-1] ^ 1]) if (site, answer[4]) == (0, SIGNED) else answer
        )
    )
    assert found.refused == {"site-0": "its signature does not hold for this round and these terms"}
    assert found.survivors == party.policy.roster.names
    listed = pack_list((0, 1, 2), b"", 4)
    longer = reply(SIGNED, party.policy, party.identities[0], b"more", listed)
    with pytest.raises(ProtocolError, match="before a signature on the survivors of 4 bytes; expected 0"):
        open_signature(longer, party.policy, 0, listed)


# -- two sums over one model


def two_cohorts(party):
    """Let a server that keeps to the protocol try a round again: the sums that it saw opened, and its errors.

    In the first round the answers of all openers but site 1 are lost; in the second one site 0 is away.
    """
    seen, errors = {}, []

    class Lossy:
        def __init__(self, number):
            self.number = number

        def exchange(self, outgoing):
            replies = {}
            for site, message in outgoing.items():
                lost = self.number == 0 and message[4] == OPEN and site != 1
                if lost or (self.number, site) == (1, 0):
                    continue
                try:
                    replies[site] = party.sites[site].step(message)
                except ProtocolError:
                    continue
                if message[4] == OPEN:
                    opened = replies[site][REPLY_HEAD:-SIGNATURE_BYTES]
                    words = parse_vector(opened, party.policy.encoding.num_words)
                    seen[self.number] = party.policy.encoding.to_signed(words)
            return replies

    for number in range(2):
        try:
            party.server.sum(party.policy, Lossy(number))
        except ProtocolError as error:
            errors.append(str(error))
        party.again(bytes([number + 1]) * 16)
    return seen, errors


def test_an_abandoned_round_and_its_retry_do_not_subtract_to_a_sites_update(key):
    party = Round(key, num_sites=7)
    seen, errors = two_cohorts(party)
    assert list(seen) == [0]
    assert "1 of 7 sites opened the sum; 2 are needed" in errors[0]
    assert "0 of 6 sites signed the survivors; 5 are needed" in errors[1]
    # with the same sites the round is tried again, and the server gets the sum that it had
    found, _ = party.run()
    np.testing.assert_array_equal(found.integers, seen[0])


@pytest.mark.parametrize("mutant", [MemoryJournal.check_cohort, lambda *_: None])
def test_without_the_claim_before_signing_they_do(key, monkeypatch, mutant):
    monkeypatch.setattr(MemoryJournal, "claim_cohort", mutant)
    party = Round(key, num_sites=7)
    seen, errors = two_cohorts(party)
    assert len(errors) == 1
    own = party.policy.encoding.to_signed(party.words[0])
    np.testing.assert_array_equal(seen[0] - seen[1], own)


def test_a_training_goes_on_with_the_survivors_that_an_abandoned_round_has_signed():
    party = Party(aggregation=HomomorphicSum())
    server = party.server()
    silent = dict.fromkeys((0, 2, 3), DropoutStage.UNMASK)
    first, second, third = (
        server.run_round(party.network(dropouts)) for dropouts in (silent, {0: DropoutStage.MASKED}, {})
    )
    assert "1 of 4 sites opened the sum" in first.abort_reason
    assert "0 of 3 sites signed the survivors" in second.abort_reason
    assert third.survivors == tuple(party.sites)


def test_a_site_encrypts_once_and_in_turn(key):
    party = Round(key)
    with pytest.raises(ProtocolError, match="not due in round"):
        party.sites[0].step(party.listed((0, 1, 2, 3), b""))
    party.sites[0].step(request(ENCRYPT, party.policy))
    for message in (
        request(ENCRYPT, party.policy),
        b"",
        b"QHS2",
        request(SURVIVORS, party.policy)[:-1] + b"?",
        party.offered({}, b""),
    ):
        with pytest.raises(ProtocolError, match="not due in round"):
            party.sites[0].step(message)
    with pytest.raises(ProtocolError, match="masked before"):
        party.site(0).step(request(ENCRYPT, party.policy))


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


@pytest.mark.parametrize("bared", [slice(1, None), slice(0, 30), slice(29, None)], ids=str)
@pytest.mark.parametrize("form", ["words", "integers", "numbers", "float32"])
def test_a_part_of_a_vector_in_the_clear_is_an_alarm(key, bared, form):
    """Behind a true ciphertext, which the server cuts off: the sum would be exact."""
    party = Round(key, length=60)
    site = party.sites[2]

    class Leaking:
        @staticmethod
        def encrypt(words, encoding):
            integers = encoding.to_signed(words[bared])
            forms = {"words": words[bared], "integers": integers, "numbers": integers / encoding.scale}
            forms["float32"] = forms["numbers"].astype(np.float32)
            return site_key.encrypt(words, encoding) + forms[form].tobytes()

    site_key, site._key = site._key, Leaking
    _, transport = party.run()
    truth = dict(zip(party.policy.roster.names, party.words, strict=True))
    with pytest.raises(MechanismError, match="gives away the vector of 'site-2'"):
        party.server.check_view(transport.view_under(party.policy), truth, ())


@pytest.mark.parametrize("kind", [SIGNED, OPENED])
def test_words_in_the_clear_behind_another_reply_are_an_alarm(key, kind):
    party = Round(key, length=60)
    _, transport = party.run()
    view, truth = transport.view_under(party.policy), dict(zip(NAMES, party.words, strict=True))
    leaking = tuple(
        replace(one, data=one.data + party.words[0].tobytes())
        if one.site == 0 and one.data[4] == kind
        else one
        for one in view.received
    )
    assert leaking != view.received
    with pytest.raises(MechanismError, match="gives away the vector of 'site-0'"):
        party.server.check_view(replace(view, received=leaking), truth, ())


def test_a_sum_that_is_one_sites_own_since_all_others_are_zero_is_no_alarm(key):
    """It opens that sum itself; the sum is what the server is to learn."""
    party = Round(key, length=60)
    party.words[1:] = [np.zeros_like(one) for one in party.words[1:]]
    party.sites = [party.site(index) for index in range(4)]
    _, transport = party.run()
    view, truth = transport.view_under(party.policy), dict(zip(NAMES, party.words, strict=True))
    assert any(one.site == 0 and party.words[0].tobytes() in one.data for one in view.received)
    party.server.check_view(view, truth, ())


def sees_plain_words(party, transport, site, words, sent):
    """Whether the check finds a site's words in a message of these bytes behind its head."""
    view, name = transport.view_under(party.policy), party.policy.roster.names[site]
    received = tuple(
        replace(one, data=one.data[:REPLY_HEAD] + sent)
        if one.site == site and one.data[4] == ENCRYPTED
        else one
        for one in view.received
    )
    try:
        party.server.check_view(replace(view, received=received), {name: words}, ())
    except MechanismError:
        return True
    return False


@pytest.mark.parametrize("length", [60, 123, 1000])
def test_each_row_of_eight_words_and_a_fifteenth_of_a_vector_is_noticed_in_the_clear(key, length):
    party = Round(key)
    _, transport = party.run()
    words = np.random.default_rng(0).integers(1, 2**32, length, dtype=np.uint32)

    def missed(size):
        rows = (words[start : start + size] for start in range(length - size + 1))
        return sum(not sees_plain_words(party, transport, 2, words, row.tobytes()) for row in rows)

    assert missed(8 + length // 15) == 0
    assert missed(8 + length // 30) > 0


def test_zeros_in_a_ciphertext_are_not_taken_for_those_of_a_vector(key):
    """Bytes of 0 are in many a message: a run of words that are nearly all 0 shows nothing."""
    party = Round(key)
    _, transport = party.run()
    for num_filled, is_alarm in [(0, False), (3, False), (4, True), (8, True)]:
        words = np.zeros(8, np.uint32)
        words[:num_filled] = 7
        assert sees_plain_words(party, transport, 2, words, words.tobytes()) is is_alarm


def test_training_makes_the_same_model_as_a_secure_sum_with_a_dropout():
    sites = partition(blobs(), 4, min_examples=10, min_per_class=1).sites
    nets = [linear(), linear()]
    config, drop = FederatedConfig(2, SHORT), {1: {"hospital-2": "masked"}}
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
        site.step(request(ENCRYPT, policy))
