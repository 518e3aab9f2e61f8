"""A site whose every message finds a new process: the same sums, and no step is taken twice."""

import os
import random
import shutil
from dataclasses import replace

import numpy as np
import pytest

from quintain.core.errors import ProtocolError
from quintain.federated.flower.round_folder import DerivedEntropy, RoundFolder
from quintain.federated.flower.terms import NO_ROUND, SumTerms
from quintain.federated.secagg import FolderJournal, Identity, Roster, server
from quintain.federated.secagg.collecting import RoundInProgress

LENGTH, NUM_SITES = 12, 4


class Sites:
    """Sites that keep nothing but their folders; each message is handled by objects of its own."""

    def __init__(self, folder):
        self.folder = folder
        self.identities = [Identity.create(f"site-{site}") for site in range(NUM_SITES)]
        self.terms = SumTerms(Roster.from_identities(*self.identities))
        self.facts = replace(NO_ROUND, counter=1, length=LENGTH)
        self.policy = self.terms.policy(self.facts)
        rng = np.random.default_rng(0)
        self.words = [self.policy.encoding.quantize(rng.uniform(-1, 1, LENGTH)) for _ in self.identities]
        self.seed = random.Random(0).randbytes

    def at(self, site):
        return RoundFolder(self.folder / f"rounds-{site}", FolderJournal(self.folder / f"journal-{site}"))

    def join(self, site, offer):
        with self.at(site).lock():
            made_for = self.terms.vector_hash(self.facts)
            if self.at(site).kept_update(made_for) is None:
                self.at(site).keep_update(made_for, self.words[site])
            return self.at(site).join(self.terms, self.identities[site], self.facts, offer, self.seed)

    def step(self, site, message):
        with self.at(site).lock():
            return self.at(site).step(self.terms, self.identities[site], message)

    def reach(self, stage):
        """The server's next state and messages after so many exchanges."""
        state, outgoing = server.open_round(self.policy)
        state, outgoing = server.step(state, {site: self.join(site, data) for site, data in outgoing.items()})
        for _ in range(stage - 1):
            state, outgoing = server.step(
                state, {site: self.step(site, data) for site, data in outgoing.items()}
            )
        return state, outgoing


def test_the_sum_is_that_of_the_vectors(tmp_path):
    sites = Sites(tmp_path)
    outcome, _ = sites.reach(5)
    assert not isinstance(outcome, RoundInProgress)
    assert np.array_equal(outcome.total, np.sum(sites.words, axis=0, dtype=np.uint32))
    assert not (tmp_path / "rounds-0" / "round").exists()


@pytest.mark.parametrize("stage", [1, 2, 3, 4])
def test_a_step_is_taken_once_and_a_refused_message_leaves_the_round_as_it_was(tmp_path, stage):
    sites = Sites(tmp_path)
    _, outgoing = sites.reach(stage)
    before = (tmp_path / "rounds-0" / "round").read_bytes()
    with pytest.raises(ProtocolError):
        sites.step(0, outgoing[0][:-1] + bytes([outgoing[0][-1] ^ 1]) + b"x")
    assert (tmp_path / "rounds-0" / "round").read_bytes() == before
    assert sites.step(0, outgoing[0])
    with pytest.raises(ProtocolError):
        sites.step(0, outgoing[0])


@pytest.mark.parametrize("end", ["the last answer", "the next offer"])
def test_the_file_of_a_round_is_overwritten_where_it_is_before_it_is_removed(tmp_path, end):
    """A second name of the same file keeps what is on the disk."""
    sites = Sites(tmp_path)
    offer = server.open_round(sites.policy)[1][0]
    _, outgoing = sites.reach(4 if end == "the last answer" else 1)
    os.link(tmp_path / "rounds-0" / "round", tmp_path / "same")
    before = (tmp_path / "same").read_bytes()
    assert any(before)
    if end == "the last answer":
        sites.step(0, outgoing[0])
    else:
        sites.join(0, offer)
    assert (tmp_path / "same").read_bytes() == bytes(len(before))


def test_an_update_is_overwritten_where_it_is_by_the_next_one(tmp_path):
    folder = RoundFolder(tmp_path, FolderJournal(tmp_path / "journal"))
    folder.keep_update(bytes(32), np.arange(1, 6, dtype="<u4"))
    os.link(tmp_path / "update", tmp_path / "same")
    folder.keep_update(b"x" * 32, np.arange(1, 6, dtype="<u4"))
    assert not any((tmp_path / "same").read_bytes())


def test_the_random_bytes_of_a_step_come_from_the_seed_and_all_messages_up_to_it():
    def random_bytes(seed, *messages):
        entropy = DerivedEntropy(seed)
        for message in messages:
            entropy.turn_to(message)
        return entropy(32)

    seed, other = bytes(32), bytes(31) + b"x"
    assert random_bytes(seed, b"offer", b"keys") == random_bytes(seed, b"offer", b"keys")
    different = [
        (seed, b"offer"),
        (seed, b"offer", b"keys"),
        (seed, b"offer", b"kexs"),
        (seed, b"keys", b"offer"),
    ]
    found = {random_bytes(*case) for case in (*different, (other, b"offer"), (seed, b"offerkeys"))}
    assert len(found) == 6


def test_a_folder_that_is_put_back_sends_no_second_vector_and_opens_no_second_sum(tmp_path):
    for stage in (2, 4):
        folder = tmp_path / str(stage)
        sites = Sites(folder)
        _, outgoing = sites.reach(stage)
        shutil.copytree(folder / "rounds-0", folder / "copy")
        assert sites.step(0, outgoing[0])
        shutil.rmtree(folder / "rounds-0")
        shutil.move(folder / "copy", folder / "rounds-0")
        with pytest.raises(ProtocolError, match="before"):
            sites.step(0, outgoing[0])


def test_a_file_that_is_cut_off_is_a_dropout(tmp_path):
    sites = Sites(tmp_path)
    _, outgoing = sites.reach(2)
    path = tmp_path / "rounds-0" / "round"
    content = path.read_bytes()
    for size in (4, 100, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(ProtocolError, match="cut off"):
            sites.step(0, outgoing[0])
    path.unlink()
    with pytest.raises(ProtocolError, match="no round is under way"):
        sites.step(0, outgoing[0])


def test_an_update_that_is_cut_off_or_of_another_model_is_not_there(tmp_path):
    folder = RoundFolder(tmp_path, FolderJournal(tmp_path / "journal"))
    words = np.arange(5, dtype="<u4")
    folder.keep_update(bytes(32), words)
    assert np.array_equal(folder.kept_update(bytes(32)), words)
    assert folder.kept_update(b"x" * 32) is None
    (tmp_path / "update").write_bytes((tmp_path / "update").read_bytes()[:-4])
    assert folder.kept_update(bytes(32)) is None


@pytest.mark.parametrize(
    "change", [{"clip_value": 0.5}, {"scale": 100}, {"weights": dict.fromkeys("abc", 2)}]
)
def test_an_update_on_another_grid_or_of_another_weight_is_not_there(tmp_path, change):
    terms = SumTerms(Roster.from_identities(*map(Identity.create, "abc")), max_corrupt=0, threshold=3)
    other = replace(terms, **change)
    folder = RoundFolder(tmp_path, FolderJournal(tmp_path / "journal"))
    folder.keep_update(terms.vector_hash(NO_ROUND), np.zeros(1, "<u4"))
    assert folder.kept_update(other.vector_hash(NO_ROUND)) is None
    assert folder.kept_update(terms.vector_hash(replace(NO_ROUND, counter=3, round_id=b"x" * 16))) is not None


@pytest.mark.parametrize("change", [{"recipe": "x"}, {"run_id": 1}, {"model_hash": b"x" * 32}])
def test_an_update_by_another_recipe_or_in_another_run_is_not_there(tmp_path, change):
    terms = SumTerms(Roster.from_identities(*map(Identity.create, "abc")), max_corrupt=0, threshold=3)
    folder = RoundFolder(tmp_path, FolderJournal(tmp_path / "journal"))
    folder.keep_update(terms.vector_hash(NO_ROUND), np.zeros(1, "<u4"))
    assert folder.kept_update(terms.vector_hash(replace(NO_ROUND, **change))) is None


def test_two_messages_are_not_handled_at_once(tmp_path):
    folder = RoundFolder(tmp_path, FolderJournal(tmp_path / "journal"))
    with folder.lock(), pytest.raises(ProtocolError, match="another message"), folder.lock():
        pass
    with folder.lock():
        pass
