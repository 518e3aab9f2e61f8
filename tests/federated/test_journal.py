"""What a site remembers beyond a round: two sums over one model never differ in their sites."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quintain.core.errors import ProtocolError, SettingError, StorageError
from quintain.federated import DropoutStage, InProcessTransport, RoundAbandonedError
from quintain.federated.aggregate import simulate_round
from quintain.federated.secagg import client, server
from quintain.federated.secagg.encoding import Encoding
from quintain.federated.secagg.folder_journal import FolderJournal
from quintain.federated.secagg.journal import Journal, MemoryJournal
from quintain.federated.secagg.keys import Identity, Roster
from quintain.federated.secagg.messages import MessageType
from quintain.federated.secagg.policy import Policy, Task
from tests.federated.rounds import federation

MODEL, OTHER = bytes(32), bytes([1]) * 32
MAKERS = [lambda folder: MemoryJournal(), FolderJournal]


ANOTHER_VECTOR = r"has masked another vector, or the same with another weight, over this very model"


class Sites:
    """Five sites with their journals, a vector each, and a server that asks for sums."""

    def __init__(self, n=5, weights=None):
        self.names = tuple(f"site-{i}" for i in range(n))
        self.identities = {name: Identity.create(name) for name in self.names}
        self.journals = {name: MemoryJournal() for name in self.names}
        self.encoding = Encoding(40, 1.0, 1000, n, 0 if weights is None else 64)
        rng = np.random.default_rng(0)
        given = weights or dict.fromkeys(self.names)
        self.words = {
            name: self.encoding.quantize(rng.uniform(-1, 1, 40), given[name]) for name in self.names
        }
        self.asked = 0

    def terms(self, counter=None, model=MODEL):
        """The policy of a new round."""
        self.asked += 1
        task = Task(federation="five", counter=self.asked if counter is None else counter)
        roster = Roster.from_identities(*self.identities.values())
        return Policy(roster, self.asked.to_bytes(16, "big"), 4, 4, self.encoding, model, 1, task)

    def sum(self, silent=(), *, counter=None, model=MODEL, stage=DropoutStage.MASKED, cut=()):
        """The sum without the silent ones; those in ``cut`` are silent when it comes to unmask."""
        terms = self.terms(counter, model)
        drop = {self.names.index(name): stage for name in silent} | {
            self.names.index(name): DropoutStage.UNMASK for name in cut
        }
        return simulate_round(terms, self.identities, self.words, drop, journals=self.journals)


def test_two_sums_over_one_model_do_not_subtract_to_a_sites_update(monkeypatch):
    """The attack: the same vectors with everybody, then without one; their difference is that one's vector,
    to the last bit.
    """

    def attack():
        sites = Sites(weights={f"site-{i}": 10 + i for i in range(5)})
        return sites, sites.sum().integers - sites.sum(["site-2"]).integers

    with pytest.raises(
        RoundAbandonedError, match="has helped to open the sum of other survivors over this very model"
    ):
        attack()
    monkeypatch.setattr(MemoryJournal, "check_cohort", lambda *args: None)
    with pytest.raises(RoundAbandonedError, match=r"0 of 5 sites unmasked.*has helped to open the sum"):
        attack()  # what it answers is claimed on its own
    monkeypatch.setattr(MemoryJournal, "claim_answer", lambda *args: None)
    sites, guess = attack()
    assert np.array_equal(guess, sites.encoding.to_signed(sites.words["site-2"]))
    assert guess[-1] == 12  # its weight with it


@pytest.mark.parametrize("kept", [False, True])
def test_two_sums_of_one_cohort_under_other_weights_do_not_subtract_to_a_sites_update(
    kept, tmp_path, monkeypatch
):
    """The attack: equal weights, then site-0's raised; twice the second sum less the first is site-0's update
    within rounding.
    """
    sites = Sites()
    if kept:
        sites.journals = {name: FolderJournal(tmp_path / name) for name in sites.names}
    update = np.random.default_rng(1).uniform(-1, 1, (5, 40))

    def asked(weights, model=MODEL):
        terms = replace(sites.terms(model=model), min_survivors=5)
        terms = replace(terms, task=replace(terms.task, weights=weights))
        sites.words = {
            n: sites.encoding.quantize(update[i] * weights[i] / max(weights))
            for i, n in enumerate(sites.names)
        }
        return simulate_round(terms, sites.identities, sites.words, {}, journals=sites.journals).total * max(
            weights
        )

    equal = asked((2, 2, 2, 2, 2))
    with pytest.raises(RoundAbandonedError, match=ANOTHER_VECTOR):
        asked((3, 2, 2, 2, 2))
    monkeypatch.setattr(Journal, "claim_vector", lambda *args: None)
    with pytest.raises(RoundAbandonedError, match=r"0 of 5 sites signed .* or of these under other terms"):
        asked((3, 2, 2, 2, 2))
    raised = asked(
        (3, 2, 2, 2, 2), OTHER
    )  # as if the journal had forgotten: another model's name over the same updates
    assert np.abs(raised - equal - update[0]).max() < 2 * 5 * 3 / 1000
    assert np.array_equal(asked((2, 2, 2, 2, 2)), equal)  # the same terms may be asked again


@pytest.mark.parametrize("kept", [False, True])
def test_two_sums_of_one_cohort_whose_weights_change_hands_do_not_subtract_to_a_sites_update(
    kept, tmp_path, monkeypatch
):
    """The attack: the same sites and the same row of weights, but the roster is reordered, so that site-0's
    weight is site-5's next.
    """
    sites, weights = Sites(6), (2, 1, 1, 1, 1, 1)
    if kept:
        sites.journals = {name: FolderJournal(tmp_path / name) for name in sites.names}
    update = dict(zip(sites.names, np.random.default_rng(1).uniform(-1, 1, (6, 40)), strict=True))

    def asked(order, weights, model=MODEL):
        terms = sites.terms(model=model)
        roster, task = (
            Roster.from_identities(*(sites.identities[name] for name in order)),
            replace(terms.task, weights=weights),
        )
        terms = replace(terms, roster=roster, threshold=5, min_survivors=6, task=task)
        heaviest = max(weights, default=1)
        words = {
            n: sites.encoding.quantize(update[n] * w / heaviest)
            for n, w in zip(order, weights or (1,) * 6, strict=True)
        }
        return simulate_round(terms, sites.identities, words, {}, journals=sites.journals).total * heaviest

    swapped = ("site-5", *sites.names[1:5], "site-0")
    first = asked(sites.names, weights)
    with pytest.raises(RoundAbandonedError, match=ANOTHER_VECTOR):
        asked(swapped, weights)
    monkeypatch.setattr(Journal, "claim_vector", lambda *args: None)
    with pytest.raises(RoundAbandonedError, match=r"0 of 6 sites signed .* or of these under other terms"):
        asked(swapped, weights)
    guess = (
        first - asked(swapped, weights, OTHER) + update["site-5"]
    )  # as if the journal had forgotten, and site-5 sides with the server
    assert np.abs(guess - update["site-0"]).max() < 2 * 6 * 2 / 1000
    assert np.array_equal(
        asked(swapped, weights[::-1]), first
    )  # another order, each with the weight that it had
    assert np.array_equal(asked(sites.names, (), bytes([2]) * 32), asked(swapped, (), bytes([2]) * 32))


def test_two_rosters_over_one_model_do_not_subtract_to_the_sites_in_which_they_differ(monkeypatch):
    """The attack: two rosters of six, and no honest site among the answers to both: the sums differ by p and
    q alone.
    """
    names = ("a", "b", "c", "d", "mallory", "p", "q")
    encoding, identities = Encoding(40, 1.0, 1000, 6), {name: Identity.create(name) for name in names}
    words = {
        name: encoding.quantize(np.random.default_rng(i).uniform(-1, 1, 40)) for i, name in enumerate(names)
    }

    def attack(second=MODEL):
        journals = {name: MemoryJournal() for name in names}

        def asked(order, counter, silent, model):
            roster, drop = (
                Roster.from_identities(*(identities[name] for name in order)),
                {order.index(name): DropoutStage.UNMASK for name in silent},
            )
            terms = Policy(
                roster, counter.to_bytes(16, "big"), 4, 6, encoding, model, 1, Task(counter=counter)
            )
            return simulate_round(
                terms, identities, {name: words[name] for name in order}, drop, journals=journals
            ).integers

        one = asked(names[:6], 0, ("a", "b"), MODEL)
        journals["mallory"] = MemoryJournal()
        return one - asked((*names[:5], "q"), 1, ("c", "d"), second)

    with pytest.raises(
        RoundAbandonedError, match=r"2 of 6 sites sent a masked vector.*for a roster of other sites"
    ):
        attack()
    assert attack(OTHER).any()  # another model may have another roster
    monkeypatch.setattr(MemoryJournal, "claim_roster", lambda *args: None)
    assert np.array_equal(attack(), encoding.to_signed(words["p"]) - encoding.to_signed(words["q"]))


@pytest.mark.parametrize("make", MAKERS)
def test_a_model_has_one_roster_whether_or_not_it_comes_to_answer(make, tmp_path):
    journal = make(tmp_path)
    journal.claim_roster(MODEL, b"roster")
    journal.claim_roster(MODEL, b"roster")
    journal.claim_roster(OTHER, b"others")
    with pytest.raises(ProtocolError, match="keep the roster, or go on from another model"):
        journal.claim_roster(MODEL, b"others")
    with pytest.raises(SettingError, match="expected"):
        journal.claim_roster(MODEL, "roster")


@pytest.mark.parametrize(
    "change",
    [
        lambda t: replace(t, task=replace(t.task, recipe="Recipe(rate=2)")),
        lambda t: replace(t, task=replace(t.task, objective="Trades()")),
        lambda t: replace(t, task=replace(t.task, data="raw")),
        lambda t: replace(t, task=replace(t.task, weights=(1, 1, 1, 1, 1))),
        lambda t: replace(t, encoding=replace(t.encoding, clip_value=0.5)),
        lambda t: replace(t, encoding=replace(t.encoding, scale=999)),
    ],
    ids=["recipe", "objective", "data", "weights", "clip", "scale"],
)
def test_a_second_sum_over_one_model_under_other_terms_is_refused(change):
    sites = Sites()
    assert sites.sum().exact
    with pytest.raises(RoundAbandonedError, match=r"0 of 5 sites signed .* under other terms"):
        simulate_round(change(sites.terms()), sites.identities, sites.words, {}, journals=sites.journals)
    terms = sites.terms()
    again = replace(terms, task=replace(terms.task, federation="another name for it"))
    assert simulate_round(again, sites.identities, sites.words, {}, journals=sites.journals).exact


def test_a_second_sum_over_one_model_under_another_cap_of_hidden_weights_is_refused(monkeypatch):
    weights = {f"site-{i}": 10 + i for i in range(5)}
    sites, vectors = Sites(weights=weights), np.random.default_rng(0).uniform(-1, 1, (5, 40))
    assert sites.sum().exact
    terms = replace(sites.terms(), encoding=replace(sites.encoding, max_weight=32))
    words = {name: terms.encoding.quantize(vectors[i], weights[name]) for i, name in enumerate(sites.names)}
    with pytest.raises(RoundAbandonedError, match=ANOTHER_VECTOR):
        simulate_round(terms, sites.identities, words, {}, journals=sites.journals)
    monkeypatch.setattr(Journal, "claim_vector", lambda *args: None)
    terms = replace(sites.terms(), encoding=terms.encoding)
    with pytest.raises(RoundAbandonedError, match=r"0 of 5 sites signed .* under other terms"):
        simulate_round(terms, sites.identities, words, {}, journals=sites.journals)


@pytest.mark.parametrize("lie", [2001, -2001])
def test_a_lie_between_what_survivors_and_what_all_sites_may_send_is_refused(lie):
    """Site-0 may send 1000, the others 500 each: of those four alone no entry is beyond 2000, though all five
    may come to 3000.
    """
    sites = Sites()
    largest = {name: 1000 if name == "site-0" else 500 for name in sites.names}

    def asked(entry, model):
        honest = {name: sites.encoding.quantize(np.zeros(40)) for name in sites.names}
        sent = np.zeros(40, np.int64)
        sent[7] = entry
        words = honest | {"site-3": sent.astype(np.uint32)}
        return simulate_round(
            sites.terms(model=model),
            sites.identities,
            words,
            {0: DropoutStage.MASKED},
            journals=sites.journals,
            largest=largest,
        )

    assert asked(2000 * np.sign(lie), MODEL).integers[7] == 2000 * np.sign(lie)
    with pytest.raises(
        RoundAbandonedError, match=f"entry 7 of the sum is {lie} grid steps; expected at most 2000"
    ):
        asked(lie, OTHER)


def changed_weight(sites, update):
    return sites.encoding.quantize(update, 13), update


def changed_patient(sites, update):
    patient = np.random.default_rng(9).uniform(-0.1, 0.1, 40)
    return sites.encoding.quantize(np.clip(update + patient, -1, 1)), patient


@pytest.mark.parametrize(
    ("weights", "change", "cosine"),
    [
        ({f"site-{i}": 10 + i for i in range(5)}, changed_weight, 0.999),
        (None, changed_patient, 0.97),
    ],
    ids=["hidden weight", "patient"],
)
@pytest.mark.parametrize("kept", [False, True])
def test_two_sums_do_not_subtract_to_what_one_site_has_changed_in_between(
    weights, change, cosine, kept, tmp_path, monkeypatch
):
    """The attack: same sites, same terms, but site-2 weighs one more, or has one patient more."""
    sites = Sites(weights=weights)
    if kept:
        sites.journals = {name: FolderJournal(tmp_path / name) for name in sites.names}
    update = np.random.default_rng(0).uniform(-1, 1, (5, 40))[2]
    first = sites.sum()
    sites.words["site-2"], secret = change(sites, update)
    with pytest.raises(RoundAbandonedError, match=f"site-2 left: this site {ANOTHER_VECTOR}"):
        sites.sum()
    assert sites.sum(model=OTHER).exact
    monkeypatch.setattr(Journal, "claim_vector", lambda *args: None)
    found = (sites.sum().integers - first.integers)[:40].astype(float)
    assert found @ secret / np.linalg.norm(found) / np.linalg.norm(secret) > cosine


def test_a_sum_that_a_site_did_not_help_to_open_binds_its_vector_too():
    """Site-2 masks and falls silent: the others may open that sum without its answer."""
    sites = Sites()
    assert sites.sum(cut=["site-2"]).survivors == sites.names
    sites.words["site-2"] = sites.words["site-1"]
    with pytest.raises(RoundAbandonedError, match=f"site-2 left: this site {ANOTHER_VECTOR}"):
        sites.sum()


def test_what_a_site_notes_of_its_vector_tells_no_guess_from_another(tmp_path):
    """The same words at two sites are two notes, so that the note is of the site's key as well."""
    sites = Sites()
    sites.journals = {name: FolderJournal(tmp_path / name) for name in sites.names}
    sites.words = dict.fromkeys(sites.names, sites.words["site-0"])
    assert sites.sum().exact
    notes = {(tmp_path / name / f"{MODEL.hex()}.vector").read_bytes() for name in sites.names}
    assert len(notes) == 5
    assert {len(note) for note in notes} == {32}


@pytest.mark.parametrize("gone", [["site-0"], ["site-4"]])
def test_a_first_sum_without_a_site_bars_the_sum_with_it_too(gone):
    sites = Sites()
    assert sites.sum(gone).exact
    with pytest.raises(RoundAbandonedError, match="1 of 5 sites signed the survivors"):
        sites.sum()
    with pytest.raises(RoundAbandonedError, match="other survivors"):
        sites.sum(["site-2"])  # two sites apart
    assert sites.sum(gone).exact
    assert sites.sum(model=OTHER).exact


def test_a_round_that_the_server_calls_abandoned_is_not_opened_a_second_time_with_others():
    """It may have the answers and deny it: three of the four that it needs were given here, the fourth may be
    in its hands.
    """
    sites = Sites()
    with pytest.raises(RoundAbandonedError, match="3 of 5 sites unmasked"):
        sites.sum(cut=["site-3", "site-4"])
    with pytest.raises(RoundAbandonedError, match="other survivors"):
        sites.sum(["site-4"])
    assert sites.sum().exact


def test_of_two_rounds_side_by_side_one_is_opened():
    """Both cohorts are signed before either is answered: what decides is the claim at the answer."""
    sites, agreed = Sites(), []
    for gone in ({}, {4: DropoutStage.MASKED}):
        terms = sites.terms()
        ready = {
            i: client.start_round(terms, sites.identities[name], sites.words[name], sites.journals[name])
            for i, name in enumerate(sites.names)
        }
        transport = InProcessTransport(terms, ready, gone)
        state, outgoing = server.open_round(terms)
        while state.expected_type is not MessageType.UNMASK:
            state, outgoing = server.step(state, transport.exchange(outgoing))
        agreed.append((transport, outgoing))
    (first, everybody), (second, four) = agreed
    assert set(first.exchange(everybody)) == {0, 1, 2, 3, 4}
    assert second.exchange(four) == {}
    assert all("other survivors over this very model" in reason for reason in second.refusals.values())


def test_a_cohort_that_cannot_be_opened_binds_nobody():
    """One of five was unheard when three opened the first cohort; it is not lured into another one that bars
    the first for good.
    """
    sites = Sites()
    with pytest.raises(RoundAbandonedError, match="3 of 5 sites unmasked"):
        sites.sum(["site-4"], cut=["site-0"])
    with pytest.raises(RoundAbandonedError, match="2 of 5 sites signed the survivors"):
        sites.sum(["site-1"])
    assert sites.sum(["site-4"]).exact


def test_a_round_that_nobody_answered_is_tried_again_with_whoever_is_there():
    sites = Sites()
    with pytest.raises(RoundAbandonedError, match="3 of 5 sites sent a masked vector"):
        sites.sum(["site-0", "site-1"])
    with pytest.raises(RoundAbandonedError, match="3 of 5 sites signed"):
        sites.sum(["site-0", "site-1"], stage=DropoutStage.CONSISTENCY)
    assert sites.sum(["site-2"]).exact


def test_an_update_is_masked_once_whatever_the_round_id():
    sites = Sites()
    sites.sum(counter=7)
    with pytest.raises(
        RoundAbandonedError,
        match=r"the update of round 7 over this model was masked before, in round id 0+1;",
    ):
        sites.sum(counter=7)
    assert sites.sum(counter=7, model=OTHER).exact
    assert sites.sum(counter=8).exact


@pytest.mark.parametrize("make", MAKERS)
def test_no_masked_vector_leaves_twice_and_the_refusal_costs_no_secret(make, tmp_path):
    party = federation(4)
    journal = make(tmp_path / "journal")
    party.sites[0] = replace(party.sites[0], context=replace(party.sites[0].context, journal=journal))
    journal.claim_update("", 0, party.policy.model_hash, b"earlier")
    state, outgoing = server.open_round(party.policy)
    for _ in range(2):
        state, outgoing = server.step(state, party.deliver(outgoing))
    before = party.sites[0]
    with pytest.raises(ProtocolError, match=r"masked once: try again under the next round counter"):
        client.step(before, outgoing[0])
    assert len(before.encoded.peek()) == party.policy.encoding.num_words


@pytest.mark.parametrize("make", MAKERS)
def test_claims_are_made_once(make, tmp_path):
    journal = make(tmp_path)
    journal.claim_update("f", 1, MODEL, b"a")
    for other in (("g", 1, MODEL), ("f", 2, MODEL), ("f", 1, OTHER)):
        journal.claim_update(*other, b"b")
    with pytest.raises(ProtocolError, match="in round id 61"):
        journal.claim_update("f", 1, MODEL, b"c")
    journal.claim_answer(b"1" * 16, MODEL, b"cohort")
    journal.claim_answer(b"2" * 16, MODEL, b"cohort")
    with pytest.raises(ProtocolError, match="other survivors"):
        journal.claim_answer(b"3" * 16, MODEL, b"others")
    with pytest.raises(ProtocolError, match="answered once"):
        journal.claim_answer(b"3" * 16, MODEL, b"cohort")  # a refused round is burnt


def test_a_journal_remembers_wherever_its_process_goes(tmp_path, monkeypatch):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    monkeypatch.chdir(tmp_path / "one")
    journal = FolderJournal(Path("notes"))
    journal.claim_update("f", 0, MODEL, b"1")
    journal.claim_answer(b"r" * 16, MODEL, b"cohort")
    monkeypatch.chdir(tmp_path / "two")
    assert journal.has_answered(b"r" * 16)
    with pytest.raises(ProtocolError, match="masked once"):
        journal.claim_update("f", 0, MODEL, b"2")
    with pytest.raises(ProtocolError, match="other survivors"):
        journal.claim_answer(b"s" * 16, MODEL, b"others")
    assert not (tmp_path / "two/notes").exists()


def test_a_journal_is_for_its_site_alone(tmp_path):
    journal = FolderJournal(tmp_path / "journal")
    journal.claim_answer(bytes(16), MODEL, b"cohort")
    assert (tmp_path / "journal").stat().st_mode & 0o777 == 0o700
    assert {note.stat().st_mode & 0o777 for note in (tmp_path / "journal").iterdir()} == {0o600}


def test_of_two_processes_that_claim_at_once_one_is_refused(tmp_path):
    """Nothing is looked up beforehand: the exclusive making of the file decides, so that there is no moment
    between look and claim.
    """
    one, other = FolderJournal(tmp_path), FolderJournal(tmp_path)
    one.claim_answer(b"r" * 16, MODEL, b"cohort")
    with pytest.raises(ProtocolError, match="answered once"):
        other.claim_answer(b"r" * 16, MODEL, b"cohort")
    one.claim_update("f", 0, MODEL, b"1")
    with pytest.raises(ProtocolError, match="masked once"):
        other.claim_update("f", 0, MODEL, b"2")
    assert (tmp_path / f"{MODEL.hex()}.cohort").read_bytes() == b"cohort"


@pytest.mark.parametrize(
    ("note", "other", "match"),
    [
        (".cohort", (b"s" * 16, MODEL, b"other"), "other survivors"),
        (".unmasked", (b"r" * 16, MODEL, b"one"), "was unmasked before"),
    ],
)
def test_of_two_answers_that_are_claimed_at_once_one_is_refused(note, other, match):
    """Two servers at one site: the second claim is made whole between the first one's last look and its
    note.
    """

    class Raced(MemoryJournal):
        raced = False

        def _write_once(self, name, content):
            if name.endswith(note) and not self.raced:
                self.raced = True
                self.claim_answer(*other)
            return super()._write_once(name, content)

    journal = Raced()
    with pytest.raises(ProtocolError, match=match):
        journal.claim_answer(b"r" * 16, MODEL, b"one")
    assert journal.raced


@pytest.mark.parametrize(
    ("note", "claim", "match"),
    [
        ("cohort", lambda journal: journal.claim_answer(b"r" * 16, MODEL, b"cohort"), "other survivors"),
        ("cohort", lambda journal: journal.check_cohort(MODEL, b"cohort"), "other survivors"),
        ("roster", lambda journal: journal.claim_roster(MODEL, b"members"), "a roster of other sites"),
        ("vector", lambda journal: journal.claim_vector(MODEL, b"vector"), "another vector"),
    ],
    ids=["answer", "survivors", "roster", "vector"],
)
def test_a_note_that_a_crash_cut_off_refuses(note, claim, match, tmp_path):
    (tmp_path / f"{MODEL.hex()}.{note}").write_bytes(b"")
    with pytest.raises(ProtocolError, match=match):
        claim(FolderJournal(tmp_path))


@pytest.mark.parametrize("make", MAKERS)
def test_a_model_has_one_vector_whatever_the_round(make, tmp_path):
    journal = make(tmp_path)
    journal.claim_vector(MODEL, b"one")
    journal.claim_vector(MODEL, b"one")
    journal.claim_vector(OTHER, b"two")
    with pytest.raises(ProtocolError, match="send the first one again, bit for bit"):
        journal.claim_vector(MODEL, b"two")
    with pytest.raises(SettingError, match="expected"):
        journal.claim_vector(MODEL, "one")


@pytest.fixture
def full(tmp_path, monkeypatch):
    """A folder on a full disk."""
    make = os.open

    def no_space(path, flags, *args):
        if flags & os.O_CREAT and Path(path).is_relative_to(tmp_path / "full"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return make(path, flags, *args)

    monkeypatch.setattr(os, "open", no_space)
    return tmp_path / "full"


def test_no_masked_vector_leaves_if_the_journal_cannot_be_written(full):
    with pytest.raises(StorageError, match=r"cannot write the journal in .*: No space left"):
        FolderJournal(full).claim_update("f", 0, MODEL, b"r")
    sites = Sites()
    sites.journals["site-1"] = FolderJournal(full)
    summed = sites.sum()
    assert summed.survivors == ("site-0", "site-2", "site-3", "site-4")
    assert "No space left" in summed.left["site-1"]
    assert "site-1" not in summed.server_view.masked_vectors
    assert summed.refused == {}


def test_a_journal_that_cannot_be_read_keeps_its_site_out(tmp_path):
    (tmp_path / "file").write_text("")
    sites = Sites()
    sites.journals["site-1"] = FolderJournal(tmp_path / "file")
    summed = sites.sum()
    assert summed.dropped == ("site-1",)
    assert "cannot read the journal" in summed.left["site-1"]


@pytest.mark.parametrize(
    ("update", "answer"),
    [((1, 0, MODEL, b""), ("r", MODEL, b"")), (("f", "0", MODEL, b""), (b"r", None, b""))],
)
def test_claims_of_a_wrong_type_are_refused_by_name(update, answer):
    with pytest.raises(SettingError, match="expected"):
        MemoryJournal().claim_update(*update)
    with pytest.raises(SettingError, match="expected"):
        MemoryJournal().claim_answer(*answer)
    with pytest.raises(SettingError, match="folder = 3"):
        FolderJournal(3)


@pytest.mark.parametrize("make", MAKERS)
def test_a_journal_says_which_updates_may_have_left(make, tmp_path):
    journal = make(tmp_path)
    journal.claim_update("five", 3, MODEL, b"r" * 16)
    assert journal.has_masked("five", 3, MODEL)
    others = (("four", 3, MODEL), ("five", 2, MODEL), ("five", 3, OTHER))
    assert not any(journal.has_masked(*one) for one in others)
